//! Long prefix lists: the kernel's side of [`sg_common::index`].

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use core::arch::asm;
use sg_common::index::{self, Address, MAX_INDEXES, PAGE_BYTES, PAGE_WORDS};

/// Pages of one index. How many there are differs; this one stands for them all.
type Inner = Array<[u64; PAGE_WORDS as usize], 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

#[btf_map]
static INDEXES: ArrayOfMaps<Inner, { MAX_INDEXES as usize }> = ArrayOfMaps::new();

/// Whether the list in this place covers the address, for a packet that holds this generation. Nothing is in a place that
/// is empty.
#[inline(always)]
pub fn holds<A: Address>(place: u32, address: A, generation: u64) -> bool {
    INDEXES.get(place).is_some_and(|pages| index::holds(Pages(pages), address, generation))
}

#[derive(Clone, Copy)]
struct Pages(&'static Inner);

impl index::Pages for Pages {
    type Page = Page;

    #[inline(always)]
    fn page(self, number: u32) -> Option<Page> {
        self.0.get_ptr(number).map(|page| Page(page.cast()))
    }
}

#[derive(Clone, Copy)]
struct Page(*const u8);

impl Page {
    /// Reads at an offset in bytes, which is cut down to the page and to what is aligned.
    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> T {
        let mut within = u64::from(offset);
        // SAFETY: arithmetic on a register, by an instruction that the optimiser cannot see through: it can neither drop the
        // mask nor check one copy of the offset and use another.
        unsafe {
            asm!(
                "{0} &= {mask}",
                inout(reg) within,
                mask = const PAGE_BYTES as usize - size_of::<T>(),
                options(pure, nomem, nostack)
            );
        }
        // SAFETY: within the page, which is an element of an array that lives as long as the program runs. Userspace writes
        // to it meanwhile, but only words that hold the old or the new value whole.
        unsafe { self.0.add(within as usize).cast::<T>().read_volatile() }
    }
}

impl index::Page for Page {
    #[inline(always)]
    fn word(self, place: u32) -> u64 {
        self.read(place.wrapping_mul(8))
    }

    #[inline(always)]
    fn half_word(self, offset: u32) -> u64 {
        u64::from(self.read::<u32>(offset.wrapping_mul(4)))
    }

    #[inline(always)]
    fn quarter_word(self, offset: u32) -> u64 {
        u64::from(self.read::<u16>(offset.wrapping_mul(2)))
    }

    #[inline(always)]
    fn step_if_negative(difference: u64, step: u32) -> u32 {
        let mut taken = difference;
        // SAFETY: arithmetic on registers. The compiler would make a branch of it.
        unsafe {
            asm!(
                "{taken} s>>= 63",
                "{taken} &= {step}",
                taken = inout(reg) taken,
                step = in(reg) u64::from(step),
                options(pure, nomem, nostack)
            );
        }
        taken as u32
    }
}
