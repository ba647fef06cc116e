"""Callbacks for `fit`: backup, error curves, falling noise, roll-back, TensorBoard."""

from abp_tf.callbacks.backup import Backup
from abp_tf.callbacks.error_curves import ErrorCurves
from abp_tf.callbacks.falling_sigma import FallingSigma
from abp_tf.callbacks.history_file import HistoryFile
from abp_tf.callbacks.roll_back import RollBack
from abp_tf.callbacks.tensorboard import TensorBoardPictures

__all__ = [
    "Backup",
    "ErrorCurves",
    "FallingSigma",
    "HistoryFile",
    "RollBack",
    "TensorBoardPictures",
]
