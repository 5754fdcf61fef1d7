//! The matrix unit of x86-64 CPUs with AMX (Sapphire Rapids and later), under Linux. Stable Rust has no functions for it,
//! hence the assembler. In safe code the products take as long as in f32, 15 times as long as here: `benches/README.md`.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use native::Amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use nowhere::Amx;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native {
    use super::super::{Row, Sums, Tile};
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    /// Bytes from one row of a tile to the next.
    const STRIDE: usize = size_of::<Row>();

    /// The tile registers of this thread: sums in 0 to 3, factors in 4 to 7. The compiler itself never uses them. There
    /// should be one at a time: a second one of the same thread has the same registers.
    pub(in super::super) struct Amx {
        /// Registers belong to a thread.
        _stays: PhantomData<*const ()>,
    }

    impl Amx {
        /// `None` where the CPU has none or the system does not lend them.
        pub(in super::super) fn new() -> Option<Self> {
            static LENT: OnceLock<bool> = OnceLock::new();
            if !*LENT.get_or_init(|| exists() && lent()) {
                return None;
            }
            /// Operand of LDTILECFG: eight registers of 16 rows of 64 bytes.
            #[repr(C, align(64))]
            struct Shapes {
                palette: u8,
                start_row: u8,
                reserved: [u8; 14],
                bytes: [u16; 16],
                rows: [u8; 16],
            }
            let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
            shapes.bytes[..8].fill(64);
            shapes.rows[..8].fill(16);
            // SAFETY: a CPU or system without the instruction would end the process; LENT says that both have it. It reads
            // the 64 bytes that `Shapes` is laid out as.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly, preserves_flags));
            }
            Some(Self { _stays: PhantomData })
        }

        /// See [`super::super::Unit::clear`].
        pub(in super::super) fn clear(&mut self) {
            // SAFETY: `new` has set the shapes of the registers of this thread, which `_stays` keeps `self` on.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    options(nostack, nomem, preserves_flags)
                );
            }
        }

        /// See [`super::super::Unit::add`].
        #[inline(always)]
        pub(in super::super) fn add(&mut self, left: [&Tile; 2], right: [&Tile; 2]) {
            // SAFETY: a load reads 16 rows of 64 bytes, STRIDE apart, which is all of what a `&Tile` lends; shapes as in `clear`.
            unsafe {
                asm!(
                    "tileloadd tmm4, [{left_0} + 1*{stride}]",
                    "tileloadd tmm6, [{right_0} + 1*{stride}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{right_1} + 1*{stride}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{left_1} + 1*{stride}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    left_0 = in(reg) left[0],
                    left_1 = in(reg) left[1],
                    right_0 = in(reg) right[0],
                    right_1 = in(reg) right[1],
                    stride = in(reg) STRIDE,
                    options(nostack, readonly, preserves_flags)
                );
            }
        }

        /// See [`super::super::Unit::read`].
        #[inline(always)]
        pub(in super::super) fn read(&mut self, sums: &mut [[Sums; 2]; 2]) {
            // SAFETY: each store writes 16 rows of 64 bytes, STRIDE apart, which is all of a `Sums`, and the four follow each
            // other in `sums`; shapes as in `clear`.
            unsafe {
                asm!(
                    "tilestored [{sums} + 1*{stride}], tmm0",
                    "tilestored [{sums} + 1*{stride} + 1024], tmm1",
                    "tilestored [{sums} + 1*{stride} + 2048], tmm2",
                    "tilestored [{sums} + 1*{stride} + 3072], tmm3",
                    sums = in(reg) sums,
                    stride = in(reg) STRIDE,
                    options(nostack, preserves_flags)
                );
            }
        }
    }

    impl Drop for Amx {
        /// Without it every switch of threads would save 8 KiB more.
        fn drop(&mut self) {
            // SAFETY: there is an `Amx`, so the CPU has the instruction.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
        }
    }

    /// Whether the CPU has tiles and their product of bf16.
    #[allow(unused_unsafe)] // Newer compilers call CPUID safe.
    fn exists() -> bool {
        const FEATURES: u32 = 7;
        const TILE: u32 = 1 << 24;
        const BF16: u32 = 1 << 22;
        // SAFETY: a CPU without the instruction would end the process; every x86-64 has it.
        unsafe { __cpuid_count(0, 0).eax >= FEATURES && __cpuid_count(FEATURES, 0).edx & (TILE | BF16) == TILE | BF16 }
    }

    /// Asks the system for the registers, which it has to save: for all threads, now and later.
    fn lent() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: arch_prctl could write through its second argument; this code takes it as a number. An older system answers
        // with an error.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod nowhere {
    use super::super::{Sums, Tile};

    /// There is none.
    pub(in super::super) enum Amx {}

    impl Amx {
        pub(in super::super) fn new() -> Option<Self> {
            None
        }

        pub(in super::super) fn clear(&mut self) {
            match *self {}
        }

        pub(in super::super) fn add(&mut self, _: [&Tile; 2], _: [&Tile; 2]) {
            match *self {}
        }

        pub(in super::super) fn read(&mut self, _: &mut [[Sums; 2]; 2]) {
            match *self {}
        }
    }
}
