"""From samples to rows: medians, the best peer, ratios, bounds, targets."""

import statistics
from dataclasses import dataclass

import limits
import targets
from engines.plimsoll import NAME, Plimsoll


@dataclass(frozen=True)
class Row:
    """A cell of plimsoll beside the best peer with weights of the same width. Speeds in tokens a second; None: not measured."""

    shape: str
    cell: str
    weights: str
    bits: int
    rounds: int
    speed: float
    peer: str | None
    peer_speed: float | None
    ratio: float | None
    target: float | None
    target_peer: str | None  # whose multiple the target is
    target_ratio: float | None  # to that peer
    bound: float | None
    share: float | None  # of the bound
    share_target: float | None
    others: dict  # speed of every peer with weights of the same width

    @property
    def met(self):
        """Whether all targets are, ahead of every peer; None without any that could be looked at."""
        pairs = [(self.target_ratio, self.target), (self.share, self.share_target)]
        pairs += [(self.ratio, 1)] if self.target_ratio is not None else []
        known = [have >= want for have, want in pairs if want is not None and have is not None]
        return all(known) if known else None


def has(found, wanted):
    """Whether it has all of these values."""
    return all(found[key] == value for key, value in wanted.items())


def by_round(samples, **wanted):
    """Speed by round of the samples with these values. The fastest of a round counts: all ways are tried in the first."""
    speeds = {}
    for sample in samples:
        if has(sample, wanted):
            speeds[sample["round"]] = max(speeds.get(sample["round"], 0), sample["speed"])
    return speeds


def median(speeds):
    return statistics.median(speeds.values()) if speeds else None


def ratio_of(ours, theirs):
    """The median ratio of rounds that both ran in: a drift of the machine from round to round cancels out."""
    common = ours.keys() & theirs.keys()
    return statistics.median(ours[number] / theirs[number] for number in common) if common else None


def peers_of(samples, shape, cell, names):
    """Speeds by round of every peer, by the name of the engine and its weights."""
    found = {}
    for engine, weights in names:
        speeds = by_round(samples, shape=shape, cell=cell, engine=engine, weights=weights)
        if speeds:
            found[f"{engine} {weights}"] = speeds
    return found


def best_of(peers, engine=None):
    """The name of the fastest of the peers, or of those that are this engine's."""
    names = [name for name in peers if engine is None or name.startswith(f"{engine} ")]
    return max(names, key=lambda name: median(peers[name]), default=None)


def row(samples, shape, cell, weights, names, bounds):
    """The row of a cell, None when plimsoll has not run it. `bounds`: of the cell, by round."""
    ours = by_round(samples, shape=shape, cell=cell.name, engine=NAME, weights=weights.name)
    if not ours:
        return None
    peers = peers_of(samples, shape, cell.name, names)
    best = best_of(peers)
    target = targets.ratio(cell, weights)
    named = best_of(peers, target.of) if target else None
    share = ratio_of(ours, {number: value for number, value in bounds.items() if value})
    return Row(
        shape=shape,
        cell=cell.name,
        weights=weights.name,
        bits=weights.bits,
        rounds=len(ours),
        speed=median(ours),
        peer=best,
        peer_speed=median(peers[best]) if best else None,
        ratio=ratio_of(ours, peers[best]) if best else None,
        target=target.multiple if target else None,
        target_peer=named or (target.of if target else None),
        target_ratio=ratio_of(ours, peers[named]) if named else None,
        bound=median({number: value for number, value in bounds.items() if value}),
        share=share,
        share_target=targets.share(cell, weights),
        others={name: median(speeds) for name, speeds in peers.items()},
    )


def rows(results, engines, cells):
    """All rows, by shape, weights and cell."""
    made = []
    for shape in dict.fromkeys(sample["shape"] for sample in results["samples"]):
        for weights in Plimsoll.weights:
            peers = [(engine.name, w.name) for engine in engines for w in engine.weights if w.bits == weights.bits]
            peers = [peer for peer in peers if peer[0] != NAME]
            for cell in cells:
                bounds = bounds_of(results, shape, cell, weights)
                if found := row(results["samples"], shape, cell, weights, peers, bounds):
                    made.append(found)
    return made


def bounds_of(results, shape, cell, weights):
    """What bounds a cell, by round. Where memory was read beside plimsoll's own runs these rounds count alone: a median is of one kind."""
    size, where = bytes_of(results, shape, weights), {"shape": shape, "cell": cell.name}
    ours = where | {"engine": NAME, "weights": weights.name}
    reads = {sample["round"]: {"read": sample["read"]} for sample in results["samples"] if has(sample, ours) and "read" in sample}
    rounds = [measured for measured in results["limits"] if has(measured, where)] if size else []
    return {
        measured["round"]: limits.bound(shape, cell, weights, size, measured | reads.get(measured["round"], {}))
        for measured in rounds
        if not reads or measured["round"] in reads
    }


def bytes_of(results, shape, weights):
    return results["weight_bytes"].get(f"{shape} {NAME} {weights.name}")
