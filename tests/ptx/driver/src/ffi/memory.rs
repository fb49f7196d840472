//! Memory of the device, and pinned memory of the host.

use std::ffi::{c_int, c_uint, c_void};

use planish_ptx::AllocError;

use super::context::stream;
use super::{Out, Source, Target, api};
use crate::config;
use crate::error::{self, Code, SUCCESS};
use crate::state::driver;

fn alloc(out: &Out<u64>, n: usize) -> Code {
    match driver().heap.alloc(n as u64) {
        Ok(a) => out.set(a),
        Err(AllocError::Empty) => error::INVALID_VALUE,
        Err(AllocError::OutOfMemory) => error::OUT_OF_MEMORY,
    }
}

fn free(address: u64) -> Code {
    if address == 0 || driver().heap.free(address) {
        return SUCCESS;
    }
    config::report(&format!("InvalidFree: {address:#x} is not the start of an allocation"));
    error::INVALID_VALUE
}

fn done(result: Result<(), String>) -> Code {
    match result {
        Ok(()) => SUCCESS,
        Err(message) => {
            config::report(&format!("InvalidCopy: {message}"));
            error::INVALID_VALUE
        }
    }
}

fn to_device(to: u64, from: &Source, n: usize) -> Code {
    done(driver().heap.write(to, from.bytes(n)))
}

fn from_device(to: &Target, from: u64, n: usize) -> Code {
    if driver().heap.range(from).is_none() && n > 0 {
        return done(Err(format!("copy from the device at {from:#x}, where nothing is allocated")));
    }
    let mut bytes = vec![0; n];
    let code = done(driver().heap.read(from, &mut bytes));
    if code == SUCCESS {
        to.write(&bytes);
    }
    code
}

fn inside(to: u64, from: u64, n: usize) -> Code {
    done(driver().heap.copy(to, from, n))
}

fn fill(to: u64, pattern: &[u8], n: usize) -> Code {
    if to & (pattern.len() as u64 - 1) != 0 {
        return error::INVALID_VALUE;
    }
    let Some(len) = n.checked_mul(pattern.len()) else { return error::INVALID_VALUE };
    let mut d = driver();
    let room = d.heap.range(to).is_some_and(|(base, size)| to - base + len as u64 <= size);
    if !room && len > 0 {
        drop(d);
        return done(Err(format!("memset of {len} bytes at {to:#x} is out of bounds")));
    }
    done(d.heap.write(to, &pattern.repeat(n)))
}

fn on(id: usize, then: impl FnOnce() -> Code) -> Code {
    let code = stream(id);
    if code == SUCCESS { then() } else { code }
}

api! {
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let (all, left) = driver().heap.space();
        free.set(left as usize);
        total.set(all as usize)
    }
    fn cuMemAlloc_v2(out: Out<u64>, n: usize) { alloc(&out, n) }
    fn cuMemAllocAsync(out: Out<u64>, n: usize, s: usize) { on(s, || alloc(&out, n)) }
    fn cuMemAllocFromPoolAsync(out: Out<u64>, n: usize, _pool: usize, s: usize) { on(s, || alloc(&out, n)) }
    fn cuMemFree_v2(address: u64) { free(address) }
    fn cuMemFreeAsync(address: u64, s: usize) { on(s, || free(address)) }
    fn cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, address: u64) {
        match driver().heap.range(address) {
            Some((b, n)) => {
                base.set_if_wanted(b);
                size.set_if_wanted(n as usize);
                SUCCESS
            }
            None => error::NOT_FOUND,
        }
    }

    fn cuMemcpyHtoD_v2(to: u64, from: Source, n: usize) { to_device(to, &from, n) }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: Source, n: usize, s: usize) { on(s, || to_device(to, &from, n)) }
    fn cuMemcpyDtoH_v2(to: Target, from: u64, n: usize) { from_device(&to, from, n) }
    fn cuMemcpyDtoHAsync_v2(to: Target, from: u64, n: usize, s: usize) { on(s, || from_device(&to, from, n)) }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, n: usize) { inside(to, from, n) }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, n: usize, s: usize) { on(s, || inside(to, from, n)) }
    fn cuMemcpyPeerAsync(to: u64, _to_context: usize, from: u64, _from_context: usize, n: usize, s: usize) {
        on(s, || inside(to, from, n))
    }
    fn cuMemsetD8_v2(to: u64, v: u8, n: usize) { fill(to, &[v], n) }
    fn cuMemsetD8Async(to: u64, v: u8, n: usize, s: usize) { on(s, || fill(to, &[v], n)) }
    fn cuMemsetD16_v2(to: u64, v: u16, n: usize) { fill(to, &v.to_le_bytes(), n) }
    fn cuMemsetD16Async(to: u64, v: u16, n: usize, s: usize) { on(s, || fill(to, &v.to_le_bytes(), n)) }
    fn cuMemsetD32_v2(to: u64, v: u32, n: usize) { fill(to, &v.to_le_bytes(), n) }
    fn cuMemsetD32Async(to: u64, v: u32, n: usize, s: usize) { on(s, || fill(to, &v.to_le_bytes(), n)) }

    fn cuMemHostAlloc(out: Out<*mut c_void>, n: usize, _flags: c_uint) { pin(&out, n) }
    fn cuMemAllocHost_v2(out: Out<*mut c_void>, n: usize) { pin(&out, n) }
    fn cuMemFreeHost(p: usize) {
        if driver().pinned.remove(&p).is_some() {
            return SUCCESS;
        }
        config::report(&format!("InvalidFree: {p:#x} is not pinned memory"));
        error::INVALID_VALUE
    }
    fn cuMemHostGetFlags(flags: Out<c_uint>, p: usize) {
        if driver().pinned.contains_key(&p) { flags.set(0) } else { error::INVALID_VALUE }
    }
    fn cuMemHostRegister_v2(_p: usize, _n: usize, _flags: c_uint) { SUCCESS }
    fn cuMemHostUnregister(_p: usize) { SUCCESS }
    fn cuMemAllocManaged(_out: Out<u64>, _n: usize, _flags: c_uint) { error::NOT_SUPPORTED }

    fn cuDeviceGetDefaultMemPool(pool: Out<usize>, _dev: c_int) { pool.set(1) }
    fn cuDeviceGetMemPool(pool: Out<usize>, _dev: c_int) { pool.set(1) }
    fn cuDeviceSetMemPool(_dev: c_int, _pool: usize) { SUCCESS }
    fn cuMemPoolSetAttribute(_pool: usize, _attribute: c_int, _value: usize) { SUCCESS }
    fn cuMemPoolGetAttribute(_pool: usize, _attribute: c_int, value: Out<u64>) { value.set(0) }
    fn cuMemPoolTrimTo(_pool: usize, _keep: usize) { SUCCESS }
    fn cuMemPrefetchAsync(_address: u64, _n: usize, _dev: c_int, s: usize) { stream(s) }

    // For the stand-in cuBLAS, which has no other way to the device's memory.

    fn planish_ptx_read(to: Target, from: u64, n: usize) {
        let checked = driver().heap.check_written(from, n);
        match checked {
            Ok(()) => from_device(&to, from, n),
            Err(message) => {
                config::report(&format!("Uninitialised: {message}"));
                error::INVALID_VALUE
            }
        }
    }
    fn planish_ptx_write(to: u64, from: Source, n: usize) { to_device(to, &from, n) }
    fn planish_ptx_report(text: super::Text) {
        config::report(&text.get().unwrap_or_default());
        SUCCESS
    }
}

fn pin(out: &Out<*mut c_void>, n: usize) -> Code {
    if n == 0 || n > 1 << 36 {
        return if n == 0 { error::INVALID_VALUE } else { error::OUT_OF_MEMORY };
    }
    // Whole words, so that it is aligned for any type; the host does not find zeros in it by luck.
    let mut memory = vec![0xcccc_cccc_cccc_ccccu64; n.div_ceil(8)].into_boxed_slice();
    let p = memory.as_mut_ptr();
    driver().pinned.insert(p as usize, memory);
    out.set(p.cast())
}
