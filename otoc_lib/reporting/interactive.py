"""Figures to turn over in JupyterLab, by plotly. What the report shows on its pages it draws itself."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from otoc_lib.labels import LabelSet
from otoc_lib.reporting.figures import TSNE_PANELS
from otoc_lib.reporting.runs import read_arrays, read_json
from otoc_lib.store import Stage

HOVER = "%{fullData.name}<br>%{customdata[0]}, super-voxel %{customdata[1]}<extra></extra>"


def tsne_figure(tsne: Stage, label_set: LabelSet) -> go.Figure:
    """Figure 6 to hover over: each super-voxel's class, room and number; a click on a class in the legend hides it.

    Args:
        tsne: finished stage ``tsne``.
        label_set: of the rooms.
    """
    points, summary = read_arrays(tsne, "tsne.safetensors"), read_json(tsne, "tsne.json")
    titles = [f"{title}, silhouette {summary['silhouette'][name]:+.3f}" for name, title in TSNE_PANELS.items()]
    figure = make_subplots(1, len(TSNE_PANELS), subplot_titles=titles, horizontal_spacing=0.02)
    rooms = np.array(summary["rooms"])
    for column, name in enumerate(TSNE_PANELS, start=1):
        for label in np.unique(points["class"]):
            chosen = points["class"] == label
            trace = go.Scattergl(
                x=points[name][chosen, 0],
                y=points[name][chosen, 1],
                mode="markers",
                marker={"size": 5, "color": "rgb({},{},{})".format(*label_set.colors[label])},
                name=label_set.names[label],
                legendgroup=label_set.names[label],
                showlegend=column == 1,
                customdata=np.stack([rooms[points["room"][chosen]], points["supervoxel"][chosen].astype(str)], axis=1),
                hovertemplate=HOVER,
            )
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure.update_layout(height=430, margin={"l": 5, "r": 5, "t": 30, "b": 5}, template="plotly_white")
