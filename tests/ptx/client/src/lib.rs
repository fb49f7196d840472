//! What cudarc sees of the stand-in libraries; the tests are all there is.
