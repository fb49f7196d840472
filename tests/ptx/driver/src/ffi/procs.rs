//! `cuGetProcAddress`: functions by the name without its version.

use std::ffi::c_void;

use super::{context, execution, memory};

macro_rules! table {
    ($($module:ident: $($name:ident $function:ident),+;)*) => {
        /// The newest version of a function that this library has.
        pub(super) fn find(symbol: &str) -> Option<*const c_void> {
            $($(if symbol == stringify!($name) { return Some($module::$function as *const c_void); })+)*
            None
        }
    };
}

table! {
    context: cuInit cuInit, cuDriverGetVersion cuDriverGetVersion, cuDeviceGetCount cuDeviceGetCount,
        cuDeviceGet cuDeviceGet, cuDeviceGetName cuDeviceGetName, cuDeviceTotalMem cuDeviceTotalMem_v2,
        cuDeviceGetAttribute cuDeviceGetAttribute, cuDeviceGetUuid cuDeviceGetUuid_v2,
        cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2,
        cuCtxGetCurrent cuCtxGetCurrent, cuCtxSetCurrent cuCtxSetCurrent, cuCtxGetDevice cuCtxGetDevice,
        cuCtxSynchronize cuCtxSynchronize, cuStreamCreate cuStreamCreate, cuStreamDestroy cuStreamDestroy_v2,
        cuStreamSynchronize cuStreamSynchronize, cuStreamWaitEvent cuStreamWaitEvent, cuEventCreate cuEventCreate,
        cuEventRecord cuEventRecord, cuEventSynchronize cuEventSynchronize, cuEventQuery cuEventQuery,
        cuEventDestroy cuEventDestroy_v2, cuEventElapsedTime cuEventElapsedTime, cuGetErrorName cuGetErrorName,
        cuGetErrorString cuGetErrorString, cuGetProcAddress cuGetProcAddress_v2;
    memory: cuMemGetInfo cuMemGetInfo_v2, cuMemAlloc cuMemAlloc_v2, cuMemAllocAsync cuMemAllocAsync,
        cuMemFree cuMemFree_v2, cuMemFreeAsync cuMemFreeAsync, cuMemcpyHtoD cuMemcpyHtoD_v2,
        cuMemcpyHtoDAsync cuMemcpyHtoDAsync_v2, cuMemcpyDtoH cuMemcpyDtoH_v2,
        cuMemcpyDtoHAsync cuMemcpyDtoHAsync_v2, cuMemcpyDtoD cuMemcpyDtoD_v2,
        cuMemcpyDtoDAsync cuMemcpyDtoDAsync_v2, cuMemsetD8 cuMemsetD8_v2, cuMemsetD8Async cuMemsetD8Async,
        cuMemHostAlloc cuMemHostAlloc, cuMemFreeHost cuMemFreeHost,
        cuMemGetAddressRange cuMemGetAddressRange_v2;
    execution: cuModuleLoadData cuModuleLoadData, cuModuleUnload cuModuleUnload,
        cuModuleGetFunction cuModuleGetFunction, cuModuleGetGlobal cuModuleGetGlobal_v2,
        cuFuncGetAttribute cuFuncGetAttribute, cuFuncSetAttribute cuFuncSetAttribute, cuLaunchKernel cuLaunchKernel;
}
