//! Packet pointers behind the parser's [`Cursor`]: the only place that dereferences them.

use core::arch::asm;
use sg_common::packet::Cursor;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The bytes of a packet that lie in memory, from `data` up to `end`.
#[derive(Clone, Copy)]
pub struct PacketPointers {
    /// Start of the frame.
    pub data: usize,
    /// Behind the last byte that can be read here.
    pub end: usize,
    /// Bytes of the whole packet, readable here or not.
    pub len: u32,
}

impl Cursor for PacketPointers {
    #[inline(always)]
    fn read<T: FromBytes + Immutable + KnownLayout + Copy>(self, offset: usize) -> Option<T> {
        let at = self.data + bounded(offset);
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes are within the packet, and `FromBytes` says that any bytes are a `T`. They may be less
        // aligned than `T`: BPF runs on machines whose loads do not mind, and LLVM compiles the load as it stands,
        // whereas `read_unaligned` would be split into single bytes (some 10 ns a packet).
        Some(unsafe { *(at as *const T) })
    }

    #[inline(always)]
    fn wire_len(self) -> usize {
        self.len as usize
    }

    #[inline(always)]
    fn settle(self, offset: usize) -> usize {
        let mut settled = offset;
        // SAFETY: arithmetic on registers. `len - len` is 0 to the machine and an unknown number to the verifier,
        // which therefore forgets how the offset came about: one state for all paths.
        unsafe {
            asm!(
                "{zero} = {len}",
                "{zero} -= {len}",
                "{settled} += {zero}",
                "{settled} &= 0x7fff",
                zero = out(reg) _,
                len = in(reg) self.len as usize,
                settled = inout(reg) settled,
                options(pure, nomem, nostack)
            );
        }
        settled
    }
}

/// `offset` below 32 KiB, by an instruction that the optimiser cannot see through: it can then neither drop the mask
/// nor split `data + offset` into a checked and a used copy, which the verifier would refuse.
#[inline(always)]
fn bounded(offset: usize) -> usize {
    let mut bounded = offset;
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} &= 0x7fff", inout(reg) bounded, options(pure, nomem, nostack)) };
    bounded
}

/// Makes the compiler read memory anew, so that what it stored before comes back as numbers of which the verifier
/// knows nothing. Without it every path through the parser is followed to the end of the pipeline: the
/// verifier processed 518,000 instructions of the TC program before, and 105,000 with the three uses of it.
#[inline(always)]
pub fn forget_registers() {
    // SAFETY: changes nothing. It must be an instruction: an empty `asm!` leaves two lines on one offset in the BTF,
    // which the kernel refuses.
    unsafe { asm!("{0} = 0", out(reg) _, options(nostack)) };
}
