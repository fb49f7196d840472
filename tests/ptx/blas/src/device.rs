//! The device's memory, which lives in the stand-in `libcuda.so` that the process has already loaded.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

type Read = unsafe extern "C" fn(*mut u8, u64, usize) -> c_int;
type Write = unsafe extern "C" fn(u64, *const u8, usize) -> c_int;
type Report = unsafe extern "C" fn(*const c_char) -> c_int;

#[derive(Clone, Copy)]
struct Driver {
    read: Read,
    write: Write,
    report: Report,
}

#[expect(unsafe_code, reason = "the C library's loader")]
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

const RTLD_LAZY: c_int = 1;

#[expect(unsafe_code, reason = "symbols of the stand-in")]
fn driver() -> Option<Driver> {
    static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
    *DRIVER.get_or_init(|| {
        // SAFETY: the names are C strings; the library is the one that the process uses, or this one's neighbour.
        let library = unsafe { dlopen(c"libcuda.so".as_ptr(), RTLD_LAZY) };
        if library.is_null() {
            return None;
        }
        // SAFETY: the library is open and never closed.
        let find = |name: &std::ffi::CStr| unsafe { dlsym(library, name.as_ptr()) };
        let (read, write, report) =
            (find(c"planish_ptx_read"), find(c"planish_ptx_write"), find(c"planish_ptx_report"));
        if read.is_null() || write.is_null() || report.is_null() {
            return None;
        }
        // SAFETY: these symbols are the stand-in's own, of these types.
        unsafe {
            Some(Driver {
                read: std::mem::transmute::<*mut c_void, Read>(read),
                write: std::mem::transmute::<*mut c_void, Write>(write),
                report: std::mem::transmute::<*mut c_void, Report>(report),
            })
        }
    })
}

/// Whether the device's memory can be reached.
pub(crate) fn present() -> bool {
    driver().is_some()
}

/// Reads device memory; false if it is out of bounds or was never written, which is reported.
#[expect(unsafe_code, reason = "a call into the stand-in")]
pub(crate) fn read(address: u64, bytes: &mut [u8]) -> bool {
    // SAFETY: the buffer has so many bytes.
    driver().is_some_and(|d| unsafe { (d.read)(bytes.as_mut_ptr(), address, bytes.len()) } == 0)
}

/// Writes device memory; false if it is out of bounds, which is reported.
#[expect(unsafe_code, reason = "a call into the stand-in")]
pub(crate) fn write(address: u64, bytes: &[u8]) -> bool {
    // SAFETY: the buffer has so many bytes.
    driver().is_some_and(|d| unsafe { (d.write)(address, bytes.as_ptr(), bytes.len()) } == 0)
}

/// Reports an error of the caller where detectors report theirs.
#[expect(unsafe_code, reason = "a call into the stand-in")]
pub(crate) fn report(text: &str) {
    if let (Some(d), Ok(text)) = (driver(), CString::new(text)) {
        // SAFETY: the text ends in a zero.
        unsafe { (d.report)(text.as_ptr()) };
    }
}
