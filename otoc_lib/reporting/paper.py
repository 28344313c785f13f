"""The numbers the paper reports: mIoU in percent.

Source: Liu, Qi and Fu, "One Thing One Click: A Self-Training Approach for Weakly Supervised 3D Semantic Segmentation",
CVPR 2021, Tables 1-4. Figure 1 shows a selection of Tables 1 and 4 as bars.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One row of a table: a name for files and links, the paper's wording, its supervision and its mIoU in percent.

    quoted: of a network that this kit lacks, so that no experiment measures the row.
    """

    row: str
    setting: str
    annotation: str
    miou: float
    quoted: bool = False


# ScanNet-v2 test set (hidden labels, benchmark server).
TABLE1 = (
    PaperRow("pointnet2", "PointNet++", "100%", 33.9),
    PaperRow("splatnet", "SPLATNet", "100%", 39.3, quoted=True),
    PaperRow("tangentconv", "TangentConv", "100%", 43.8, quoted=True),
    PaperRow("pointcnn", "PointCNN", "100%", 45.8, quoted=True),
    PaperRow("fpconv", "FPConv", "100%", 63.9, quoted=True),
    PaperRow("dcm_net", "DCM-Net", "100%", 65.8, quoted=True),
    PaperRow("pointconv", "PointConv", "100%", 66.6, quoted=True),
    PaperRow("kpconv", "KPConv", "100%", 68.4, quoted=True),
    PaperRow("jsenet", "JSENet", "100%", 69.9, quoted=True),
    PaperRow("subsparsecnn", "SubSparseCNN", "100%", 72.5, quoted=True),
    PaperRow("minkowskinet", "MinkowskiNet", "100%", 73.6),
    PaperRow("virtual_mvfusion", "Virtual MVFusion", "100% + 2D", 74.6, quoted=True),
    PaperRow("supervised", "Our fully-sup baseline", "100%", 72.5),
    PaperRow("mprm_scene", "MPRM", "scene-level", 24.4),
    PaperRow("mprm_subcloud", "MPRM", "subcloud-level", 41.1),
    PaperRow("mprm_crf", "MPRM+CRF", "subcloud-level", 43.2),
    PaperRow("otoc_full", "One Thing One Click", "0.02%", 69.1),
    PaperRow("data_efficient", 'Ours on "Data Efficient"', "20 points/scene", 59.4),
)

# ScanNet-v2 validation set. The paper's three rows on 20 points a scene follow those of one click per object.
TABLE2 = (
    PaperRow("supervised", "Our fully sup baseline", "100%", 72.18),
    PaperRow("otoc_baseline", "One Thing One Click*", "0.02%", 62.18),
    PaperRow("otoc_dagger", "One Thing One Click†", "0.02%", 68.96),
    PaperRow("otoc_full", "One Thing One Click", "0.02%", 70.45),
    PaperRow("data_efficient_baseline", "Data Efficient*", "20 points", 55.06),
    PaperRow("data_efficient_dagger", "Data Efficient†", "20 points", 59.98),
    PaperRow("data_efficient_full", "Data Efficient", "20 points", 61.35),
)

# ScanNet-v2 validation set, single view: the paper's column of each variant, iterations 1 to 5.
TABLE3 = {
    "unet": (60.14, 62.39, 64.83, 65.81, 65.91),
    "unet_gp": (63.83, 64.74, 66.10, 67.78, 67.92),
    "unet_rel_gp": (63.92, 66.97, 68.40, 70.01, 70.45),
}
TABLE3_NAMES = {"unet": "3D U-Net", "unet_gp": "3D U-Net+GP", "unet_rel_gp": "3D U-Net+Rel+GP"}

# S3DIS, Area 5.
TABLE4 = (
    PaperRow("pointnet", "PointNet", "100%", 41.1, quoted=True),
    PaperRow("segcloud", "SegCloud", "100%", 48.9, quoted=True),
    PaperRow("tangentconv", "TangentConv", "100%", 52.8, quoted=True),
    PaperRow("rnn3d", "3D RNN", "100%", 53.4, quoted=True),
    PaperRow("pointcnn", "PointCNN", "100%", 57.3, quoted=True),
    PaperRow("superpointgraph", "SuperpointGraph", "100%", 58.0, quoted=True),
    PaperRow("minkowskinet32", "MinkowskiNet32", "100%", 65.4),
    PaperRow("virtual_mvfusion", "Virtual MV-Fusion", "100% + 2D", 65.4, quoted=True),
    PaperRow("supervised", "Our fully-sup baseline", "100%", 63.7),
    PaperRow("pi_model_02", "Pi Model", "0.2%", 44.3),
    PaperRow("mean_teacher_02", "MT", "0.2%", 44.4),
    PaperRow("xu_baseline_02", "Xu et al.*", "0.2%", 44.0),
    PaperRow("xu_02", "Xu et al.", "0.2%", 44.5),
    PaperRow("pi_model_10", "Pi Model", "10%", 46.3),
    PaperRow("mean_teacher_10", "MT", "10%", 47.9),
    PaperRow("xu_baseline_10", "Xu et al.*", "10%", 45.7),
    PaperRow("xu_10", "Xu et al.", "10%", 48.0),
    PaperRow("gpfn_17", "GPFN", "16.7% 2D", 50.8),
    PaperRow("gpfn_100", "GPFN", "100% 2D", 52.5),
    PaperRow("otoc_baseline", "One Thing One Click*", "0.02%", 43.7),
    PaperRow("otoc_dagger", "One Thing One Click†", "0.02%", 49.4),
    PaperRow("otoc_full", "One Thing One Click", "0.02%", 50.1),
    PaperRow("otoc3_baseline", "One Thing Three Clicks*", "0.06%", 48.9),
    PaperRow("otoc3_dagger", "One Thing Three Clicks†", "0.06%", 54.1),
    PaperRow("otoc3_full", "One Thing Three Clicks", "0.06%", 55.3),
)

# Figure 1: the rows of Tables 1 and 4 that it compares, in its order.
FIGURE1 = {
    "ScanNet-v2 test": tuple(
        r for name in ("mprm_scene", "mprm_subcloud", "otoc_full", "supervised") for r in TABLE1 if r.row == name
    ),
    "S3DIS Area 5": tuple(
        r for name in ("xu_02", "xu_10", "otoc_full", "otoc3_full", "supervised") for r in TABLE4 if r.row == name
    ),
}
