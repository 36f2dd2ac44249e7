=== quay ===
Mara: Mind the step.
Tobin: I always do.
Mara: You never do.
Tobin: Note: it is wet.
* [Laugh] -> END
