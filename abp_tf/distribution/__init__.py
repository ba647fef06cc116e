"""Training on several devices and machines by `tf.distribute`: replicas, shards, their backups."""
