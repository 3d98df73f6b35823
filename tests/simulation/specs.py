"""What the machines of these tests are made of."""

from eventvm.spec import Spec

SPEC = Spec(provider="simulated", cpus=2, memory=4 << 30, storage=10 << 30)
NEW = Spec(provider="simulated", cpus=8, memory=16 << 30, storage=40 << 30)
LIFECYCLES = ("vm", "hcsshim", "plugin", "microvm", "cell")
