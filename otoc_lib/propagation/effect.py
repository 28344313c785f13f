"""What propagation changes of a prediction, and how often that is right."""

from collections.abc import Mapping

import numpy as np

from otoc_lib.scene import Scene


def propagation_effect(
    scenes: list[Scene], before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """How many points propagation gives another class, and what becomes of them.

    Args:
        scenes: only points that have a true class count.
        before, after: scene name -> the likeliest class of every point without and with propagation, integers [N];
            each is asked for once.

    Returns:
        Shares in percent.

        - graph_changed_percent: points whose class changes, of all.
        - graph_mended_percent, graph_spoilt_percent: of these, wrong ones that become right, and right ones that become
          wrong; the rest was wrong and stays so. None where nothing changes.
    """
    points = changed = mended = spoilt = 0
    for scene in scenes:
        if scene.labels is None:
            continue
        known = scene.labels >= 0
        true, old, new = scene.labels[known], before[scene.name][known], after[scene.name][known]
        points += len(true)
        changed += int((old != new).sum())
        mended += int(((old != true) & (new == true)).sum())
        spoilt += int(((old == true) & (new != true)).sum())
    return {
        "graph_changed_percent": 100 * changed / points if points else None,
        "graph_mended_percent": 100 * mended / changed if changed else None,
        "graph_spoilt_percent": 100 * spoilt / changed if changed else None,
    }
