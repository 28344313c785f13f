"""Networks: the 3D U-Net and other backbones, the relation network and its prototype bank; weights to start from."""
