//! The exported functions. All that comes from C goes through the types of this file, so that `unsafe` stays in it.

mod context;
mod execution;
mod memory;
mod procs;

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{self, Code};

/// Where a C caller wants a result, or null.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Gives the result.
    #[expect(unsafe_code, reason = "the C API's pointers")]
    fn set(&self, v: T) -> Code {
        if self.0.is_null() {
            return error::INVALID_VALUE;
        }
        // SAFETY: the caller of a driver function promises that result pointers are null or writable.
        unsafe { self.0.write_unaligned(v) };
        error::SUCCESS
    }

    /// Gives the result if it is wanted.
    fn set_if_wanted(&self, v: T) {
        if !self.0.is_null() {
            self.set(v);
        }
    }
}

/// Memory of the host that is read.
#[repr(transparent)]
pub(crate) struct Source(*const u8);

impl Source {
    #[expect(unsafe_code, reason = "the C API's pointers")]
    fn bytes(&self, n: usize) -> &[u8] {
        if n == 0 || self.0.is_null() {
            return &[];
        }
        // SAFETY: the caller of a copy promises `n` readable bytes, and waits for the copy, which ends in this call.
        unsafe { std::slice::from_raw_parts(self.0, n) }
    }
}

/// Memory of the host that is written.
#[repr(transparent)]
pub(crate) struct Target(*mut u8);

impl Target {
    #[expect(unsafe_code, reason = "the C API's pointers")]
    fn write(&self, bytes: &[u8]) {
        if bytes.is_empty() || self.0.is_null() {
            return;
        }
        // SAFETY: the caller of a copy promises so many writable bytes; `bytes` is memory of this library.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0, bytes.len()) };
    }
}

/// A C string, or null.
#[repr(transparent)]
pub(crate) struct Text(*const c_char);

impl Text {
    #[expect(unsafe_code, reason = "the C API's pointers")]
    fn get(&self) -> Option<String> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the caller of a driver function promises that text ends in a zero.
        Some(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// The array of pointers to a launch's arguments.
#[repr(transparent)]
pub(crate) struct Arguments(*mut *mut c_void);

impl Arguments {
    /// The bytes of argument `i`, or nothing if a pointer is null.
    #[expect(unsafe_code, reason = "the C API's pointers")]
    fn get(&self, i: usize, size: usize) -> Option<&[u8]> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the caller of a launch promises a pointer for each of the kernel's arguments.
        let p = unsafe { *self.0.add(i) };
        // SAFETY: and that it points to as many bytes as the argument has.
        (!p.is_null()).then(|| unsafe { std::slice::from_raw_parts(p.cast(), size) })
    }
}

/// Runs the body of a function; a panic must not cross into C.
fn guarded(body: impl FnOnce() -> Code) -> Code {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        crate::config::report("Internal: the interpreter panicked");
        error::UNKNOWN
    })
}

/// Exported functions.
macro_rules! api {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of the CUDA driver API.")]
            ///
            /// # Safety
            /// Pointers are as the driver API says.
            #[unsafe(no_mangle)]
            #[expect(unsafe_code, reason = "the name is what the loader looks for")]
            #[allow(non_snake_case, private_interfaces, unreachable_pub, reason = "a C symbol")]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> crate::error::Code {
                crate::ffi::guarded(|| $body)
            }
        )*
    };
}
pub(crate) use api;
