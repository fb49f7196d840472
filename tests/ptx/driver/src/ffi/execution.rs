//! Modules, functions and launches.

use std::ffi::{c_int, c_uint, c_void};

use super::context::stream;
use super::{Arguments, Out, Text, api};
use crate::config;
use crate::error::{self, Code, SUCCESS};
use crate::state::{Handle, driver, function_attribute};

fn load(out: &Out<usize>, image: &Text) -> Code {
    let Some(text) = image.get() else { return error::INVALID_VALUE };
    if !text.contains(".version") {
        config::report("InvalidPtx: the image is no PTX text (the interpreter reads no cubin)");
        return error::INVALID_PTX;
    }
    let loaded = driver().load(&text);
    match loaded {
        Ok(id) => out.set(id),
        Err(code) => code,
    }
}

fn launch(f: usize, grid: [u32; 3], block: [u32; 3], dynamic: u32, id: usize, args: &Arguments, extra: usize) -> Code {
    let code = stream(id);
    if code != SUCCESS {
        return code;
    }
    if extra != 0 {
        return error::NOT_SUPPORTED;
    }
    let mut d = driver();
    let (module, name, _) = match d.kernel(f) {
        Ok(k) => k,
        Err(code) => return code,
    };
    let Some(k) = module.module.kernels.get(&name) else { return error::INVALID_HANDLE };
    let mut bytes = vec![0; k.param_bytes];
    for (i, p) in k.params.iter().enumerate() {
        let Some(v) = args.get(i, p.size) else {
            config::report(&format!("Launch: kernel `{name}`: argument {i} of {} is null", k.params.len()));
            return error::INVALID_VALUE;
        };
        bytes[p.offset..p.offset + p.size].copy_from_slice(v);
    }
    d.launch(f, grid, block, dynamic, &bytes)
}

fn occupancy(f: usize, then: impl FnOnce(&planish_ptx::Kernel) -> Code) -> Code {
    let found = driver().kernel(f);
    match found {
        Ok((module, name, _)) => module.module.kernels.get(&name).map_or(error::INVALID_HANDLE, then),
        Err(code) => code,
    }
}

/// Blocks that fit a multiprocessor, by threads and shared memory; registers are not known.
fn blocks(k: &planish_ptx::Kernel, threads: c_int, dynamic: usize) -> c_int {
    let by_threads = 2048 / threads.max(1);
    let shared = k.shared + dynamic;
    let by_shared = if shared == 0 { 32 } else { (100 * 1024 / (shared + 1024)) as c_int };
    by_threads.min(by_shared).min(32)
}

api! {
    fn cuModuleLoadData(out: Out<usize>, image: Text) { load(&out, &image) }
    fn cuModuleLoadDataEx(out: Out<usize>, image: Text, _n: c_uint, _options: usize, _values: usize) {
        load(&out, &image)
    }
    fn cuModuleLoad(out: Out<usize>, path: Text) {
        let Some(text) = path.get().and_then(|p| std::fs::read_to_string(p).ok()) else {
            return error::FILE_NOT_FOUND;
        };
        let loaded = driver().load(&text);
        match loaded {
            Ok(id) => out.set(id),
            Err(code) => code,
        }
    }
    fn cuModuleUnload(id: usize) { driver().unload(id).err().unwrap_or(SUCCESS) }
    fn cuModuleGetFunction(out: Out<usize>, id: usize, name: Text) {
        let mut d = driver();
        let Some(Handle::Module(module)) = d.handles.get(&id).cloned() else { return error::INVALID_HANDLE };
        let Some(name) = name.get().filter(|n| module.module.kernels.contains_key(n)) else {
            return error::NOT_FOUND;
        };
        let id = d.add(Handle::Function { module, name, dynamic_shared: 0 });
        out.set(id)
    }
    fn cuModuleGetGlobal_v2(address: Out<u64>, size: Out<usize>, id: usize, name: Text) {
        let d = driver();
        let Some(Handle::Module(module)) = d.handles.get(&id) else { return error::INVALID_HANDLE };
        let name = name.get().unwrap_or_default();
        let Some(i) = module.module.variables.iter().position(|v| v.name == name) else { return error::NOT_FOUND };
        address.set_if_wanted(module.variables[i]);
        size.set_if_wanted(module.module.variables[i].bytes.len());
        SUCCESS
    }
    fn cuFuncGetAttribute(out: Out<c_int>, attribute: c_int, f: usize) {
        let found = driver().kernel(f);
        let (module, name, asked) = match found {
            Ok(k) => k,
            Err(code) => return code,
        };
        let m = &module.module;
        let v = m.kernels.get(&name).and_then(|k| function_attribute(k, asked, m.version, m.target, attribute));
        v.map_or(error::INVALID_VALUE, |v| out.set(v))
    }
    fn cuFuncSetAttribute(f: usize, attribute: c_int, value: c_int) {
        let mut d = driver();
        let Some(Handle::Function { module, name, dynamic_shared }) = d.handles.get_mut(&f) else {
            return error::INVALID_HANDLE;
        };
        // 8 is the most dynamic shared memory, 9 the preferred carve-out.
        match (attribute, usize::try_from(value)) {
            (8, Ok(n)) => {
                let used = module.module.kernels.get(name).map_or(0, |k| k.shared);
                if n + used > 99 * 1024 {
                    return error::INVALID_VALUE;
                }
                *dynamic_shared = n;
                SUCCESS
            }
            (9, _) => SUCCESS,
            _ => error::INVALID_VALUE,
        }
    }
    fn cuFuncSetCacheConfig(_f: usize, _config: c_int) { SUCCESS }
    fn cuLaunchKernel(
        f: usize,
        gx: c_uint, gy: c_uint, gz: c_uint,
        bx: c_uint, by: c_uint, bz: c_uint,
        dynamic: c_uint, s: usize, args: Arguments, extra: usize,
    ) {
        launch(f, [gx, gy, gz], [bx, by, bz], dynamic, s, &args, extra)
    }
    fn cuLaunchCooperativeKernel(
        _f: usize,
        _gx: c_uint, _gy: c_uint, _gz: c_uint,
        _bx: c_uint, _by: c_uint, _bz: c_uint,
        _dynamic: c_uint, _s: usize, _args: *mut *mut c_void,
    ) {
        error::NOT_SUPPORTED
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<c_int>, f: usize, threads: c_int, dynamic: usize) {
        occupancy(f, |k| out.set(blocks(k, threads, dynamic)))
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<c_int>, f: usize, threads: c_int, dynamic: usize, _flags: c_uint,
    ) {
        occupancy(f, |k| out.set(blocks(k, threads, dynamic)))
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<usize>, f: usize, n: c_int, _threads: c_int) {
        occupancy(f, |k| out.set((100 * 1024 / n.max(1) as usize).saturating_sub(k.shared + 1024)))
    }
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<c_int>, block: Out<c_int>, f: usize, _shared_of: usize, dynamic: usize, limit: c_int,
    ) {
        occupancy(f, |k| {
            let most = k.max_threads.map_or(1024, |n| n as c_int);
            let threads = if limit > 0 { most.min(limit) } else { most };
            block.set(threads);
            grid.set(4 * blocks(k, threads, dynamic))
        })
    }
}
