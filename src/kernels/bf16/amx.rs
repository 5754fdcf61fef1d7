//! The matrix unit of x86-64 CPUs with AMX (Sapphire Rapids and later), under Linux. Stable Rust has no functions for it,
//! hence the assembler. In safe code (AVX512-BF16) such products make 89 GFLOP/s, here 2,790: `benches/README.md`.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use native::Amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use nowhere::Amx;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native {
    use super::super::{Row, Sums, Tile, Unit};
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    thread_local! {
        /// Whether there is an [`Amx`] of this thread.
        static TAKEN: Cell<bool> = const { Cell::new(false) };
    }

    /// Bytes from one row of a tile to the next.
    const STRIDE: usize = size_of::<Row>();

    /// The tile registers of this thread, one at a time: sums in 0 to 3, factors in 4 to 7. They keep their values from one
    /// call to the next since nothing else uses tiles: the compiler does for AMX intrinsics alone, and the system saves them.
    pub(in super::super) struct Amx {
        /// Registers belong to a thread.
        _stays: PhantomData<*const ()>,
    }

    impl Amx {
        /// Whether the CPU has them and the system lends them, for which it is asked once.
        pub(in super::super) fn is_there() -> bool {
            static LENT: OnceLock<bool> = OnceLock::new();
            *LENT.get_or_init(|| exists() && lent())
        }
    }

    impl Unit for Amx {
        fn new() -> Self {
            assert!(Self::is_there(), "this machine has no tile registers");
            assert!(!TAKEN.replace(true), "the tile registers of this thread are taken");
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
            // SAFETY: without the instruction the process would end; `is_there` says that CPU and system have it. Another `Amx`
            // of this thread would lose its sums; TAKEN says that there is none. It reads the 64 bytes that `Shapes` is.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly, preserves_flags));
            }
            Self { _stays: PhantomData }
        }

        fn clear(&mut self) {
            // SAFETY: without shapes the process would end; `new` has set those of the registers of this thread, which `_stays`
            // keeps `self` on, and only `drop` takes them away.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    out("tmm0") _,
                    out("tmm1") _,
                    out("tmm2") _,
                    out("tmm3") _,
                    options(nostack, nomem, preserves_flags)
                );
            }
        }

        #[inline(always)]
        fn add(&mut self, left: [&Tile; 2], right: [&Tile; 2]) {
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
                    out("tmm0") _,
                    out("tmm1") _,
                    out("tmm2") _,
                    out("tmm3") _,
                    out("tmm4") _,
                    out("tmm5") _,
                    out("tmm6") _,
                    out("tmm7") _,
                    options(nostack, readonly, preserves_flags)
                );
            }
        }

        #[inline(always)]
        fn read(&mut self, sums: &mut [[Sums; 2]; 2]) {
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
            // SAFETY: without the instruction the process would end; there is an `Amx`, so the CPU has it.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
            TAKEN.set(false);
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

    /// Asks the system for the registers, which it has to save: for all threads, now and later. It refuses where a thread's
    /// stack for signals is too small for them; those of Rust's own threads are not.
    fn lent() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: some requests write where their argument points; this one takes a number, and a system that does not know
        // it answers with an error.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod nowhere {
    use super::super::{Sums, Tile, Unit};

    /// There is none.
    pub(in super::super) enum Amx {}

    impl Amx {
        pub(in super::super) fn is_there() -> bool {
            false
        }
    }

    impl Unit for Amx {
        fn new() -> Self {
            panic!("this machine has no tile registers")
        }

        fn clear(&mut self) {
            match *self {}
        }

        fn add(&mut self, _: [&Tile; 2], _: [&Tile; 2]) {
            match *self {}
        }

        fn read(&mut self, _: &mut [[Sums; 2]; 2]) {
            match *self {}
        }
    }
}
