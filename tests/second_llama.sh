#!/bin/sh
# Unpacks the llama.cpp that the node-llama-cpp project publishes on npm into the folder $1.
# $2: a backend, such as vulkan; without one, the build for the CPU.
# Prints the reason and fails when it cannot be had.
set -eu
version=3.22.1
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) name=linux-x64 ;;
Linux-aarch64) name=linux-arm64 ;;
*) echo "no second llama.cpp build is known for this system"; exit 1 ;;
esac
name="$name${2:+-$2}"
command -v npm >/dev/null || { echo "npm is not installed"; exit 1; }
cd "$1"
npm pack --silent "@node-llama-cpp/$name@$version" >/dev/null 2>npm.log || { tail -n 3 npm.log; exit 1; }
tar xzf "node-llama-cpp-$name-$version.tgz"
rm "node-llama-cpp-$name-$version.tgz"
rm -rf lib && mv "package/bins/$name" lib && rm -rf package
