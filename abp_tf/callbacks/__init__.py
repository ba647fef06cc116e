"""Callbacks for `fit`: backup, error curves, roll-back, TensorBoard."""

from abp_tf.board import TensorBoardPictures
from abp_tf.callbacks.backup import Backup
from abp_tf.callbacks.error_curves import ErrorCurves
from abp_tf.callbacks.history_file import HistoryFile
from abp_tf.callbacks.roll_back import RollBack

__all__ = ["Backup", "ErrorCurves", "HistoryFile", "RollBack", "TensorBoardPictures"]
