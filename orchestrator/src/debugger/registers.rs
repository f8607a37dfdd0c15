//! The registers of a virtual CPU, as QEMU's stub lays them out.

/// Bytes of a `g` packet of QEMU's x86-64 target up to what is read here, the base registers of fs and gs included.
const READ: usize = 188;

/// Bytes up to eflags: all that a thread takes along when it changes CPUs in the kernel.
pub(super) const THREAD: usize = 140;

/// The interrupt flag in eflags (Intel SDM volume 1, 3.4.3).
const INTERRUPTS: u32 = 1 << 9;

/// Direction flag and alignment check; the latter also opens user memory to the kernel (SMAP).
const UNFIT_FOR_CALLS: u32 = 1 << 10 | 1 << 18;

/// General registers, instruction pointer and flags of a thread.
///
/// QEMU's `g` packet for x86-64 (gdb-xml/i386-64bit.xml) holds in this order: rax rbx rcx rdx rsi rdi rbp rsp r8 to r15 and
/// rip, 8 bytes each; eflags cs ss ds es fs gs, 4 each; `fs_base` `gs_base` `k_gs_base`, 8 each; cr0 cr2 cr3 cr4 cr8 efer,
/// 8 each; st0 to st7, 10 each; eight x87 control registers, 4 each; xmm0 to xmm15, 16 each; mxcsr, 4: 608 bytes, the
/// numbers little-endian. Its `G` takes a packet that ends early and leaves the registers behind its end alone.
///
/// Only the first 17 and the flags belong to a thread that runs in the kernel. The rest is the CPU's (segments, their bases,
/// control registers) or kept for the thread by the kernel (x87 and SSE), so it is never written back: the thread may
/// come back on another CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15.
    pub general: [u64; 16],
    /// Address of the next instruction.
    pub rip: u64,
    /// Flags.
    pub eflags: u32,
    /// Code segment; its lowest two bits are the privilege level, 0 in the kernel.
    pub cs: u32,
    /// Base of gs: in the kernel, behind its entry code, the CPU's own data.
    pub gs_base: u64,
}

impl Registers {
    /// From a `g` packet's bytes; none where it is too short to be one of x86-64's.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() < READ {
            return None;
        }
        let long = |at: usize| Some(u64::from_le_bytes(*packet.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_le_bytes(*packet.get(at..)?.first_chunk()?));
        let mut general = [0; 16];
        for (at, register) in general.iter_mut().enumerate() {
            *register = long(at * 8)?;
        }
        Some(Self { general, rip: long(128)?, eflags: word(136)?, cs: word(140)?, gs_base: long(172)? })
    }

    /// The beginning of a `G` packet: what belongs to the thread, and nothing of the CPU.
    pub(super) fn thread_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.general.iter().chain([&self.rip]).flat_map(|long| long.to_le_bytes()).collect();
        bytes.extend(self.eflags.to_le_bytes());
        debug_assert_eq!(bytes.len(), THREAD);
        bytes
    }

    /// rsp.
    pub fn sp(&self) -> u64 {
        self.general[7]
    }

    /// rbp.
    pub fn bp(&self) -> u64 {
        self.general[6]
    }

    /// Whether the CPU executes the kernel.
    pub fn in_kernel(&self) -> bool {
        self.cs.trailing_zeros() >= 2
    }

    /// Whether interrupts are let in.
    pub fn interrupts(&self) -> bool {
        self.eflags & INTERRUPTS != 0
    }

    /// The same thread about to enter `function(argument)` with its return address stored at `sp`. Flags are as the calling
    /// convention wants them (System V ABI for x86-64, 3.2.1).
    pub(super) fn calling(&self, function: u64, argument: u64, sp: u64) -> Self {
        let mut calling = *self;
        calling.rip = function;
        calling.general[5] = argument;
        calling.general[7] = sp;
        calling.eflags &= !UNFIT_FOR_CALLS;
        calling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        (0..608_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
    }

    #[test]
    fn the_layout_is_qemus() {
        let registers = Registers::parse(&packet()).expect("long enough");
        assert_eq!(registers.general[0], 0x0706_0504_0302_0100);
        assert_eq!(registers.sp(), 0x3f3e_3d3c_3b3a_3938);
        assert_eq!(registers.rip, 0x8786_8584_8382_8180);
        assert_eq!(registers.eflags, 0x8b8a_8988);
        assert_eq!(registers.cs, 0x8f8e_8d8c);
        assert_eq!(registers.gs_base, 0xb3b2_b1b0_afae_adac);
        assert_eq!(registers.thread_bytes(), packet()[..THREAD]);
        assert_eq!(Registers::parse(&packet()[..187]), None);
    }

    #[test]
    fn a_call_gets_clean_flags_and_keeps_the_rest() {
        let mut registers = Registers::parse(&packet()).expect("long enough");
        registers.eflags = 0x0004_0646;
        let calling = registers.calling(0xf00, 4, 0x1000);
        assert_eq!((calling.rip, calling.general[5], calling.sp(), calling.eflags), (0xf00, 4, 0x1000, 0x246));
        assert_eq!(calling.general[8..], registers.general[8..]);
        assert!(registers.interrupts() && calling.interrupts());
    }
}
