//! What the kernel made of a program: the instructions that it runs, and the stack that they take.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const OBJ_GET_INFO_BY_FD: i64 = 15;
/// `struct bpf_insn`
const INSTRUCTION: usize = 8;

/// `struct bpf_prog_info` of the kernel's `include/uapi/linux/bpf.h`, as far as it is read here.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_bytes: u32,
    translated_bytes: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    flags: u32,
    namespace: [u64; 2],
    symbols: [u32; 2],
    symbol_pointers: [u64; 2],
    btf_id: u32,
    function_bytes: u32,
    functions: u64,
    function_count: u32,
    line_count: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Fills `info`, and the buffers that it names.
///
/// # Safety
/// Every buffer that `info` names is as long as it says.
unsafe fn read(program: BorrowedFd<'_>, info: &mut Info) -> io::Result<()> {
    let mut attr = InfoAttr {
        fd: program.as_raw_fd() as u32,
        length: size_of::<Info>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the kernel writes as many bytes of `info` as `length` says; the buffers are the caller's word.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, std::ptr::from_mut(&mut attr), size_of::<InfoAttr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes of stack that the program takes at most: its own frame and the deepest of the functions that it calls, each
/// rounded up as the verifier does. (No function of ours calls another.)
///
/// # Errors
/// Where the kernel does not show its instructions.
pub fn stack(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut sizes = Info::default();
    // SAFETY: no buffer is named.
    unsafe { read(program, &mut sizes) }?;
    let mut instructions = vec![0u8; sizes.translated_bytes as usize];
    let mut functions = vec![0u8; (sizes.function_count * sizes.function_bytes) as usize];
    let mut info = Info {
        translated_bytes: sizes.translated_bytes,
        translated: instructions.as_mut_ptr() as u64,
        function_bytes: sizes.function_bytes,
        function_count: sizes.function_count,
        functions: functions.as_mut_ptr() as u64,
        ..Info::default()
    };
    // SAFETY: both buffers are as long as the sizes beside them say.
    unsafe { read(program, &mut info) }?;
    // struct bpf_func_info begins with the number of the function's first instruction.
    let starts: Vec<usize> = functions
        .chunks_exact(sizes.function_bytes as usize)
        .filter_map(|function| Some(u32::from_ne_bytes(*function.first_chunk()?) as usize * INSTRUCTION))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([instructions.len()]);
    let mut frames = starts.iter().zip(ends).map(|(&start, end)| frame(&instructions[start..end]));
    Ok(frames.next().unwrap_or(0) + frames.max().unwrap_or(0))
}

/// The deepest byte below the frame pointer that a function's instructions reach, rounded up to 32.
fn frame(instructions: &[u8]) -> u32 {
    /// Register 10: the frame pointer, which nothing can change.
    const FRAME: usize = 10;
    const MOVE: u8 = 0xbf;
    const ADD_CONSTANT: u8 = 0x07;
    // Where registers point, seen from the frame pointer.
    let mut at = [None; 16];
    at[FRAME] = Some(0i32);
    let mut deepest = 0;
    for instruction in instructions.as_chunks::<INSTRUCTION>().0 {
        let (code, registers) = (instruction[0], instruction[1]);
        let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
        let offset = i32::from(i16::from_ne_bytes([instruction[2], instruction[3]]));
        let constant = i32::from_ne_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
        // Classes of instructions: loads (0, 1), stores (2, 3), arithmetic (4, 7), jumps (5, 6).
        let touched = match code & 7 {
            1 => at[from].map(|base| base + offset),
            2 | 3 => at[to].map(|base| base + offset),
            _ => None,
        };
        match (code, code & 7) {
            (MOVE, _) => at[to] = at[from],
            (ADD_CONSTANT, _) => at[to] = at[to].map(|base| base + constant),
            (_, 0 | 1 | 4 | 7) => at[to] = None,
            _ => {}
        }
        let made = if code == ADD_CONSTANT { at[to] } else { None };
        deepest = deepest.max(-touched.unwrap_or(0)).max(-made.unwrap_or(0));
    }
    (deepest as u32).next_multiple_of(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// code, destination and source, offset, constant.
    fn assemble(code: &[(u8, u8, i16, i32)]) -> Vec<u8> {
        let bytes = |&(code, registers, offset, constant): &(u8, u8, i16, i32)| {
            let mut bytes = vec![code, registers];
            bytes.extend(offset.to_ne_bytes());
            bytes.extend(constant.to_ne_bytes());
            bytes
        };
        code.iter().flat_map(bytes).collect()
    }

    #[test]
    fn a_frame_is_as_deep_as_its_deepest_access() {
        assert_eq!(frame(&assemble(&[(0xb7, 0, 0, 0), (0x95, 0, 0, 0)])), 0, "no stack at all");
        assert_eq!(frame(&assemble(&[(0x7b, 0x1a, -40, 0)])), 64, "a store");
        let by_address = [(0xbf, 0xa2, 0, 0), (0x07, 2, 0, -100), (0x85, 0, 0, 1)];
        assert_eq!(frame(&assemble(&by_address)), 128, "an address that is handed to a helper");
        let forgotten = [(0xbf, 0xa2, 0, 0), (0xb7, 2, 0, 7), (0x07, 2, 0, -100)];
        assert_eq!(frame(&assemble(&forgotten)), 0, "a register that holds something else by now");
    }
}
