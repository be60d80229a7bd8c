"""TensorFlow's set-up; how programs start, end and fail."""
