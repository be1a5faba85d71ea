"""Which IP families a Service has, from what it says and what the cluster has."""

from __future__ import annotations

from collections.abc import Sequence

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.registry import causes
from netproxy.apiserver.registry.service import traits

_BOTH = ("IPv4", "IPv6")
POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")


def with_families(spec: Object, cluster: Sequence[str]) -> tuple[Object, list[Cause]]:
    """The specification with ``ipFamilyPolicy`` and ``ipFamilies``, and what is wrong with them.

    Args:
        spec: Defaulted.
        cluster: The cluster's families, its primary one first.
    """
    if not traits.needs_cluster_ip(spec):
        return spec, []
    found: list[Cause] = []
    ips = traits.cluster_ips(spec)
    families = list(spec.get("ipFamilies") or ())
    policy = spec.get("ipFamilyPolicy") or ""
    if not policy and (len(ips) > 1 or len(families) > 1):
        why = "must be RequireDualStack or PreferDualStack when multiple "
        why += "clusterIPs are given" if len(ips) > 1 else "ipFamilies are given"
        found.append(causes.required("spec.ipFamilyPolicy", why))
        return spec, found
    if traits.is_headless(spec) and not spec.get("selector"):
        policy = policy or "RequireDualStack"
        families = _filled(families or [cluster[0]], policy, _BOTH)
        return {**spec, "ipFamilyPolicy": policy, "ipFamilies": families}, found
    policy = policy or "SingleStack"
    for each in ips[len(families) :]:
        if each != traits.HEADLESS:
            families.append(traits.family_of(each))
    families = families or [cluster[0]]
    if policy == "RequireDualStack" and len(cluster) < 2:
        why = "this cluster is not configured for dual-stack services"
        found.append(causes.invalid("spec.ipFamilyPolicy", policy, why))
    found += [
        causes.invalid(f"spec.ipFamilies[{index}]", each, "not configured on this cluster")
        for index, each in enumerate(families)
        if each in _BOTH and each not in cluster
    ]
    families = _filled(families, policy, cluster)
    return {**spec, "ipFamilyPolicy": policy, "ipFamilies": families}, found


def _filled(families: list[str], policy: str, available: Sequence[str]) -> list[str]:
    if policy == "SingleStack" or len(families) > 1:
        return families
    return families + [each for each in available if each not in families]


def downgraded(old: Object, new: Object) -> Object:
    """The new specification; going back to one family lets go of the second one."""
    ips = traits.cluster_ips(new)
    is_single = new.get("ipFamilyPolicy") == "SingleStack"
    if not is_single or len(ips) < 2 or ips != traits.cluster_ips(old):
        return new
    families = new.get("ipFamilies") or []
    return {**new, "clusterIPs": ips[:1], "ipFamilies": families[:1]}


def family_faults(spec: Object) -> list[Cause]:
    """What is wrong with families and addresses, seen together."""
    families, ips = list(spec.get("ipFamilies") or ()), traits.cluster_ips(spec)
    found = []
    policy = spec.get("ipFamilyPolicy")
    if policy and policy not in POLICIES:
        found.append(causes.not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    if len(families) > 2:
        found.append(causes.too_many("spec.ipFamilies", len(families), 2))
    for index, each in enumerate(families):
        if each not in _BOTH:
            found.append(causes.not_supported(f"spec.ipFamilies[{index}]", each, _BOTH))
        elif each in families[:index]:
            found.append(causes.duplicate(f"spec.ipFamilies[{index}]", each))
    if policy == "SingleStack" and len(families) > 1:
        why = "may only hold 1 value when ipFamilyPolicy is SingleStack"
        found.append(causes.invalid("spec.ipFamilies", families, why))
    if policy == "SingleStack" and len(ips) > 1:
        why = "may only hold 1 value when ipFamilyPolicy is SingleStack"
        found.append(causes.invalid("spec.clusterIPs", ips, why))
    for index, (family, ip) in enumerate(zip(families, ips, strict=False)):
        if ip not in {traits.HEADLESS, ""} and traits.family_of(ip) != family:
            why = f'expected an {family} value as indicated by "ipFamilies[{index}]"'
            found.append(causes.invalid(f"spec.clusterIPs[{index}]", ip, why))
    return found
