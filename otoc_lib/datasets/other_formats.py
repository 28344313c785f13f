"""Files that are no scans of a format that the kit reads: what they are, and what to do to get one."""

from pathlib import Path

BLENDER = "open it in Blender and export it as .glb, or in MeshLab as .ply"
CLOUD_COMPARE = "open it in CloudCompare and save it as .ply, .las or .e57"
MAKER = "export it from the scanner's program as .e57, .las or .ply"
SAMPLE = (
    "it describes solids, no scan; to label it all the same, sample points on it in CloudCompare and save them as .ply"
)
UNPACK = "unpack it and put the scans beside it"

HOW = {
    **dict.fromkeys((".fbx", ".dae", ".3ds", ".x3d", ".wrl", ".3mf"), BLENDER),
    **dict.fromkeys(
        (".off", ".stl", ".vtk", ".vtp"), "open it in MeshLab and save it as .ply; it holds no colours or few"
    ),
    **dict.fromkeys((".ptx", ".bin", ".dp", ".sbf", ".shp", ".pcv", ".ptg", ".pod"), CLOUD_COMPARE),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs", ".ifc", ".dwg", ".dxf", ".rvt", ".sldprt", ".3dm"), SAMPLE),
    **dict.fromkeys((".rcp", ".rcs"), "open it in Autodesk ReCap and export it as .e57 or .pts"),
    **dict.fromkeys(
        (".fls", ".fws", ".lsproj", ".zfs", ".zfprj", ".rsp", ".rdbx", ".imp", ".lgs", ".cl3", ".clr"), MAKER
    ),
    **dict.fromkeys(
        (".usdz", ".usd", ".usda", ".usdc"), "export it from the scanning app as .glb, .obj, .ply or .las instead"
    ),
    **dict.fromkeys((".splat", ".ksplat", ".spz", ".sog"), "export the splats as .ply"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".lz4"), UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as .csv"),
    **dict.fromkeys(
        (".npy", ".npz", ".pth", ".pt", ".h5", ".hdf5", ".mat", ".feather", ".parquet"), "write it as .ply"
    ),
    ".drc": "decode it (draco_decoder -i FILE -o scan.ply)",
    ".blend": "export it from Blender as .glb, with its textures, or as .ply, with colours of the vertices",
    ".skp": "export it from SketchUp as .glb or .obj",
    ".max": "export it from 3ds Max as .glb or .obj",
}

NO_SCANS = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".mp4", ".mov", ".mtl", ".pdf", ".md", ".rst"),
    *(".doc", ".docx", ".odt", ".html", ".json", ".yaml", ".yml", ".xml", ".ini", ".cfg", ".log", ".py", ".ipynb"),
)


def how_to_convert(path: Path) -> str:
    """Why a file is not read, by its name, and what to do, as the end of a sentence that names it."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes = suffixes[:-1] if suffixes[-2:-1] != [".tar"] else [".tar"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in NO_SCANS:
        return f"{suffix} is no scan"
    how = HOW.get(suffix, "convert it to .ply or .las if it is a scan")
    return f"{suffix or 'a name without a suffix'} is not a format this kit reads; {how}"
