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

/// Bytes of stack that the program takes at most: its own frame and those of the functions below it, each rounded up as
/// the verifier does.
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
        .filter_map(|function| Some(u32::from_ne_bytes(*function.first_chunk()?) as usize))
        .collect();
    let instructions = instructions.as_chunks::<INSTRUCTION>().0;
    Ok(if starts.is_empty() { frame(instructions) } else { depth(instructions, &starts, 0) })
}

/// The frame of a function and of the deepest that it calls, or has called by a helper. (The verifier lets no function
/// call itself, through others either.)
fn depth(instructions: &[[u8; INSTRUCTION]], starts: &[usize], function: usize) -> u32 {
    const CALL: u8 = 0x85;
    const CALL_OF_OURS: u8 = 1;
    const LOAD_CONSTANT: u8 = 0x18;
    const FUNCTION: u8 = 4;
    let start = starts[function];
    let end = starts.get(function + 1).copied().unwrap_or(instructions.len());
    let called = instructions[start..end].iter().zip(start..).filter_map(|(instruction, at)| {
        let constant = constant(instruction);
        match (instruction[0], instruction[1] >> 4) {
            // The kernel shows a call with the function's number, and an address by the distance to it.
            (CALL, CALL_OF_OURS) => usize::try_from(constant).ok(),
            (LOAD_CONSTANT, FUNCTION) => {
                let target = at.checked_add_signed(constant as isize + 1)?;
                starts.iter().position(|start| *start == target)
            }
            _ => None,
        }
    });
    let deepest =
        called.filter(|it| *it < starts.len()).map(|it| depth(instructions, starts, it)).max().unwrap_or(0);
    frame(&instructions[start..end]) + deepest
}

fn constant(instruction: &[u8; INSTRUCTION]) -> i32 {
    let [.., a, b, c, d] = *instruction;
    i32::from_ne_bytes([a, b, c, d])
}

/// The deepest byte below the frame pointer that a function's instructions reach, rounded up to 32; one that reaches none
/// counts as 32.
fn frame(instructions: &[[u8; INSTRUCTION]]) -> u32 {
    /// Register 10: the frame pointer, which nothing can change.
    const FRAME: usize = 10;
    const MOVE: u8 = 0xbf;
    const ADD_CONSTANT: u8 = 0x07;
    // Where registers point, seen from the frame pointer.
    let mut at = [None; 16];
    at[FRAME] = Some(0i32);
    let mut deepest = 0;
    for instruction in instructions {
        let (code, registers) = (instruction[0], instruction[1]);
        let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
        let offset = i32::from(i16::from_ne_bytes([instruction[2], instruction[3]]));
        let constant = constant(instruction);
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
    (deepest.max(1) as u32).next_multiple_of(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// code, destination and source, offset, constant.
    fn assemble(code: &[(u8, u8, i16, i32)]) -> Vec<[u8; INSTRUCTION]> {
        let bytes = |&(code, registers, offset, constant): &(u8, u8, i16, i32)| {
            let ([e, f], [a, b, c, d]) = (offset.to_ne_bytes(), constant.to_ne_bytes());
            [code, registers, e, f, a, b, c, d]
        };
        code.iter().map(bytes).collect()
    }

    #[test]
    fn a_frame_is_as_deep_as_its_deepest_access() {
        assert_eq!(frame(&assemble(&[(0xb7, 0, 0, 0), (0x95, 0, 0, 0)])), 32, "no stack at all");
        assert_eq!(frame(&assemble(&[(0x7b, 0x1a, -40, 0)])), 64, "a store");
        let by_address = [(0xbf, 0xa2, 0, 0), (0x07, 2, 0, -100), (0x85, 0, 0, 1)];
        assert_eq!(frame(&assemble(&by_address)), 128, "an address that is handed to a helper");
        let forgotten = [(0xbf, 0xa2, 0, 0), (0xb7, 2, 0, 7), (0x07, 2, 0, -100)];
        assert_eq!(frame(&assemble(&forgotten)), 32, "a register that holds something else by now");
    }

    #[test]
    fn frames_below_one_another_add_up() {
        let (exit, store) = ((0x95, 0, 0, 0), (0x7b, 0x1a, -40, 0));
        // Calls number 1, which hands the address of number 2 to a helper.
        let code = [(0x85, 0x10, 1, 1), exit, (0x18, 0x41, 0, 3), (0, 0, 0, 0), store, exit, store, exit];
        assert_eq!(depth(&assemble(&code), &[0, 2, 6], 0), 32 + 64 + 64);
        assert_eq!(depth(&assemble(&code), &[0, 2, 6], 2), 64);
    }
}
