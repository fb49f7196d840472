//! What would be done to each tensor. Reads no weight.
