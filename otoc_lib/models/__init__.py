"""Networks: the 3D U-Net, the relation network and its prototype bank."""
