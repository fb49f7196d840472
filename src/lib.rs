//! planish takes a Hugging Face checkpoint to a quantized release and proves how far it drifted.
//!
//! The way of the data: a [`checkpoint`] is what the user brought; its architecture in [`model`] says which tensors the
//! release has and where each comes from, and a [`dialect`] how they are stored; [`plan`] decides every type and size without reading a weight; [`run`] does
//! what the plan says. What came out is held against the original by [`verify`].

pub mod amount;
pub mod checkpoint;
pub mod dialect;
pub mod imatrix;
pub mod lora;
pub mod method;
pub mod model;
pub mod modelfile;
pub mod plan;
pub mod provenance;
pub mod run;
pub mod text;
pub mod verify;
