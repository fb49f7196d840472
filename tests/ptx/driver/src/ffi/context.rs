//! Devices, contexts, streams, events and errors.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::time::Instant;

use super::{Out, Target, Text, api};
use crate::error::{self, Code, SUCCESS};
use crate::state::{Handle, attribute, driver};

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

fn device(ordinal: c_int, then: impl FnOnce() -> Code) -> Code {
    let known = (0..driver().config.devices).contains(&ordinal);
    if known { then() } else { error::INVALID_DEVICE }
}

fn check(id: usize, is: impl Fn(&Handle) -> bool) -> Code {
    // Null, 1 and 2 are the default streams.
    match driver().handles.get(&id) {
        Some(h) if is(h) => SUCCESS,
        _ => error::INVALID_HANDLE,
    }
}

/// Whether a handle is a stream; null, 1 and 2 are the default ones.
pub(super) fn stream(id: usize) -> Code {
    if id <= 2 { SUCCESS } else { check(id, |h| matches!(h, Handle::Stream)) }
}

fn event(id: usize) -> Code {
    check(id, |h| matches!(h, Handle::Event { .. }))
}

fn destroy(id: usize, is: impl Fn(&Handle) -> bool) -> Code {
    let code = check(id, is);
    if code == SUCCESS {
        driver().handles.remove(&id);
    }
    code
}

fn elapsed(out: &Out<f32>, start: usize, end: usize) -> Code {
    let d = driver();
    let at = |id| match d.handles.get(&id) {
        Some(Handle::Event { recorded: Some(t) }) => Some(*t),
        _ => None,
    };
    match (at(start), at(end)) {
        (Some(a), Some(b)) => out.set(b.saturating_duration_since(a).as_secs_f32() * 1e3),
        _ => error::INVALID_HANDLE,
    }
}

api! {
    fn cuInit(_flags: c_uint) {
        if driver().config.devices > 0 { SUCCESS } else { error::NO_DEVICE }
    }
    fn cuDriverGetVersion(version: Out<c_int>) { version.set(driver().config.driver) }
    fn cuDeviceGetCount(count: Out<c_int>) { count.set(driver().config.devices) }
    fn cuDeviceGet(out: Out<c_int>, ordinal: c_int) { device(ordinal, || out.set(ordinal)) }
    fn cuDeviceGetName(name: Target, len: c_int, dev: c_int) {
        device(dev, || {
            let text = format!("interpreter of PTX (sm_{})", driver().config.capability);
            let Some(room) = usize::try_from(len).ok().filter(|&n| n > 0) else { return error::INVALID_VALUE };
            let mut bytes: Vec<u8> = text.into_bytes().into_iter().take(room - 1).collect();
            bytes.push(0);
            name.write(&bytes);
            SUCCESS
        })
    }
    fn cuDeviceGetUuid(uuid: Target, dev: c_int) {
        device(dev, || { uuid.write(&[dev as u8 + 1; 16]); SUCCESS })
    }
    fn cuDeviceGetUuid_v2(uuid: Target, dev: c_int) {
        device(dev, || { uuid.write(&[dev as u8 + 1; 16]); SUCCESS })
    }
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, dev: c_int) {
        device(dev, || bytes.set(driver().config.memory as usize))
    }
    fn cuDeviceGetAttribute(value: Out<c_int>, a: c_int, dev: c_int) {
        device(dev, || value.set(attribute(&driver().config, a)))
    }
    fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, dev: c_int) {
        device(dev, || {
            let c = driver().config;
            major.set(attribute(&c, 75));
            minor.set(attribute(&c, 76))
        })
    }
    fn cuDevicePrimaryCtxRetain(context: Out<usize>, dev: c_int) {
        device(dev, || context.set(driver().primary(dev)))
    }
    fn cuDevicePrimaryCtxRelease_v2(dev: c_int) { device(dev, || SUCCESS) }
    fn cuDevicePrimaryCtxReset_v2(dev: c_int) { device(dev, || SUCCESS) }
    fn cuDevicePrimaryCtxSetFlags_v2(dev: c_int, _flags: c_uint) { device(dev, || SUCCESS) }
    fn cuCtxGetCurrent(context: Out<usize>) { context.set(CURRENT.get()) }
    fn cuCtxSetCurrent(context: usize) {
        if context != 0 && check(context, |h| matches!(h, Handle::Context(_))) != SUCCESS {
            return error::INVALID_CONTEXT;
        }
        CURRENT.set(context);
        SUCCESS
    }
    fn cuCtxGetDevice(dev: Out<c_int>) {
        match driver().handles.get(&CURRENT.get()) {
            Some(Handle::Context(d)) => dev.set(*d),
            _ => error::INVALID_CONTEXT,
        }
    }
    fn cuCtxSynchronize() { SUCCESS }
    fn cuCtxSetFlags(_flags: c_uint) { SUCCESS }
    fn cuCtxSetLimit(_limit: c_int, _value: usize) { SUCCESS }
    fn cuCtxGetLimit(value: Out<usize>, _limit: c_int) { value.set(8 << 20) }
    fn cuCtxSetCacheConfig(_config: c_int) { SUCCESS }
    fn cuCtxGetCacheConfig(config: Out<c_int>) { config.set(0) }
    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        least.set(0);
        greatest.set(-5)
    }

    fn cuStreamCreate(out: Out<usize>, _flags: c_uint) { out.set(driver().add(Handle::Stream)) }
    fn cuStreamCreateWithPriority(out: Out<usize>, _flags: c_uint, _priority: c_int) {
        out.set(driver().add(Handle::Stream))
    }
    fn cuStreamDestroy_v2(id: usize) { destroy(id, |h| matches!(h, Handle::Stream)) }
    fn cuStreamSynchronize(id: usize) { stream(id) }
    fn cuStreamQuery(id: usize) { stream(id) }
    fn cuStreamWaitEvent(id: usize, e: usize, _flags: c_uint) {
        if stream(id) == SUCCESS { event(e) } else { error::INVALID_HANDLE }
    }
    fn cuStreamIsCapturing(id: usize, status: Out<c_int>) {
        if stream(id) == SUCCESS { status.set(0) } else { error::INVALID_HANDLE }
    }
    fn cuStreamAttachMemAsync(_stream: usize, _ptr: u64, _len: usize, _flags: c_uint) { SUCCESS }

    fn cuEventCreate(out: Out<usize>, _flags: c_uint) { out.set(driver().add(Handle::Event { recorded: None })) }
    fn cuEventRecord(e: usize, id: usize) {
        if stream(id) != SUCCESS || event(e) != SUCCESS {
            return error::INVALID_HANDLE;
        }
        driver().handles.insert(e, Handle::Event { recorded: Some(Instant::now()) });
        SUCCESS
    }
    fn cuEventQuery(e: usize) { event(e) }
    fn cuEventSynchronize(e: usize) { event(e) }
    fn cuEventDestroy_v2(e: usize) { destroy(e, |h| matches!(h, Handle::Event { .. })) }
    fn cuEventElapsedTime(out: Out<f32>, start: usize, end: usize) { elapsed(&out, start, end) }
    fn cuEventElapsedTime_v2(out: Out<f32>, start: usize, end: usize) { elapsed(&out, start, end) }

    fn cuGetErrorName(code: c_int, out: Out<*const c_char>) { described(code, &out, |d| d.0) }
    fn cuGetErrorString(code: c_int, out: Out<*const c_char>) { described(code, &out, |d| d.1) }
    fn cuGetProcAddress_v2(
        symbol: Text, out: Out<*const c_void>, _version: c_int, _flags: u64, status: Out<c_int>,
    ) {
        let found = symbol.get().and_then(|s| super::procs::find(&s));
        // 1 is "symbol not found".
        status.set_if_wanted(c_int::from(found.is_none()));
        out.set(found.unwrap_or(std::ptr::null()))
    }
}

fn described(
    code: c_int,
    out: &Out<*const c_char>,
    pick: impl FnOnce((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Code {
    if let Some(d) = error::describe(code) {
        return out.set(pick(d).as_ptr());
    }
    out.set(std::ptr::null());
    error::INVALID_VALUE
}
