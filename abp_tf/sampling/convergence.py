import numpy as np
def diagnose(latents):
    nan = np.full((latents.shape[0], *latents.shape[3:]), np.nan, np.float32)
    return nan, nan
