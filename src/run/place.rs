//! Where a program runs.

/// Where the ops of a program run. Files are read, and texts and reports made, by the processor in any case.
#[derive(Clone, Copy, Debug, Default)]
pub enum Place {
    /// The processor: the reference.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(&'static planish_kernels::cuda::Cuda),
}

impl Place {
    /// `cpu`, or what the device is called.
    pub fn name(&self) -> String {
        match self {
            Place::Cpu => "cpu".to_owned(),
            #[cfg(feature = "cuda")]
            Place::Cuda(cuda) => cuda.described(),
        }
    }

    /// Ops that the device left to the processor, and how often; empty for the processor itself.
    pub fn left_to_cpu(&self) -> Vec<(&'static str, u64)> {
        match self {
            Place::Cpu => vec![],
            #[cfg(feature = "cuda")]
            Place::Cuda(cuda) => cuda.left_to_cpu(),
        }
    }
}
