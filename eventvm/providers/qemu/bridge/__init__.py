"""The bridge: a program beside QEMU that launches it, hears its guest, and writes down how it ended.

It outlives the engine, runs by the standard library alone, and knows one incarnation of one machine, in whose
directory it works:

* It holds the machine's lock from before QEMU is there until all is written down.
* Nobody is told of a guest before `vmm.json` is durable; a launch that nobody awaits by then leaves nothing.
* An exit code is durable in `exit.json` before the guest is told so; only one that verifies is written.
* `end.json` is written last, once QEMU is gone.
* A guest that was captured goes on, whether or not somebody still waits for the snapshot.
"""
