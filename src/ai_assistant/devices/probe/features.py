"""Instruction sets that matrix kernels use, under one name whatever the system calls them."""

from collections.abc import Iterable

NAMES = {
    "sse4_2": "SSE4.2",
    "sse4.2": "SSE4.2",
    "avx": "AVX",
    "avx1.0": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "bmi2": "BMI2",
    "avx2": "AVX2",
    "avx2_0": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vbmi": "AVX-512-VBMI",
    "avx512vbmi": "AVX-512-VBMI",
    "avx512_vnni": "AVX-512-VNNI",
    "avx512vnni": "AVX-512-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "neon": "NEON",
    "asimd": "NEON",
    "advsimd": "NEON",
    "asimdhp": "FP16",
    "feat_fp16": "FP16",
    "asimddp": "DOTPROD",
    "feat_dotprod": "DOTPROD",
    "i8mm": "I8MM",
    "feat_i8mm": "I8MM",
    "bf16": "BF16",
    "feat_bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
    "feat_sme": "SME",
    "sme2": "SME2",
    "feat_sme2": "SME2",
    "rvv": "RVV",
    "altivec": "AltiVec",
}
"""From the lower-case words of `/proc/cpuinfo`, `sysctl` and Windows, the oldest first."""
_ORDER = {name: place for place, name in enumerate(dict.fromkeys(NAMES.values()))}

ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x43, 0x0AF): "ThunderX2",
    (0x46, 0x001): "A64FX",
    (0xC0, 0xAC3): "Ampere-1",
}
"""Implementer and part, as the registers of the core tell them."""


def instruction_sets(words: Iterable[str]) -> tuple[str, ...]:
    """Those that matter, each once, the oldest first."""
    known = {NAMES[word.lower()] for word in words if word.lower() in NAMES}
    return tuple(sorted(known, key=_ORDER.__getitem__))
