"""The files of the data set: download, sample, records; pictures; augmentation."""
