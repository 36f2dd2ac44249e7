"""The parts of the build that pyproject.toml cannot say: the cffi modules and the abi3 tag."""

from setuptools import setup

setup(
    cffi_modules=["modkit/native/_build.py:core", "modkit/native/_build.py:llama"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
