"""Methods, one file each: what is trained, how it predicts, how it relabels. ``stages`` runs them."""
