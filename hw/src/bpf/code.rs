//! Instructions, and putting them together.

/// The programs we write, instruction by instruction (`Documentation/bpf/standardization/
/// instruction-set.rst` of the kernel). Each method appends one instruction.
#[derive(Clone, Debug, Default)]
pub struct Code {
    instructions: Vec<Instruction>,
    /// Jumps, by the place of the instruction, and where they lead.
    jumps: Vec<(usize, &'static str)>,
    labels: Vec<(&'static str, usize)>,
}

/// A register. `R0` holds results, `R1` to `R5` arguments (lost in a call), `R6` to `R9` stay,
/// `R10` is the end of the stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "they are numbered")]
#[repr(u8)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much of memory is read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Size {
    /// Four bytes.
    Word = 0x00,
    /// Two bytes.
    Half = 0x08,
    /// One byte.
    Byte = 0x10,
    /// Eight bytes.
    Double = 0x18,
}

/// One instruction, in the kernel's layout but for the order of bits in `registers`, which is that
/// of a little-endian machine: the source is the high half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Code {
    /// No instruction yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `to = value`
    pub fn set(self, to: Register, value: i32) -> Self {
        self.push(0xb7, to, Register::R0, 0, value)
    }

    /// `to = from`
    pub fn copy(self, to: Register, from: Register) -> Self {
        self.push(0xbf, to, from, 0, 0)
    }

    /// `to += value`
    pub fn add(self, to: Register, value: i32) -> Self {
        self.push(0x07, to, Register::R0, 0, value)
    }

    /// `to += from`
    pub fn add_register(self, to: Register, from: Register) -> Self {
        self.push(0x0f, to, from, 0, 0)
    }

    /// `to *= from`
    pub fn multiply(self, to: Register, from: Register) -> Self {
        self.push(0x2f, to, from, 0, 0)
    }

    /// `to &= value`
    pub fn and(self, to: Register, value: i32) -> Self {
        self.push(0x57, to, Register::R0, 0, value)
    }

    /// `to ^= from`
    pub fn xor_register(self, to: Register, from: Register) -> Self {
        self.push(0xaf, to, from, 0, 0)
    }

    /// `to <<= bits`
    pub fn shift_left(self, to: Register, bits: i32) -> Self {
        self.push(0x67, to, Register::R0, 0, bits)
    }

    /// `to >>= bits`, without a sign.
    pub fn shift_right(self, to: Register, bits: i32) -> Self {
        self.push(0x77, to, Register::R0, 0, bits)
    }

    /// `to =` its lower two bytes as a number in network order.
    pub fn half_from_network(self, to: Register) -> Self {
        self.push(0xdc, to, Register::R0, 0, 16)
    }

    /// `to = *(from + offset)`
    pub fn load(self, size: Size, to: Register, from: Register, offset: i16) -> Self {
        self.push(0x61 | size as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = from`
    pub fn store(self, size: Size, to: Register, offset: i16, from: Register) -> Self {
        self.push(0x63 | size as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = value`
    pub fn store_value(self, size: Size, to: Register, offset: i16, value: i32) -> Self {
        self.push(0x62 | size as u8, to, Register::R0, offset, value)
    }

    /// `to =` the map behind descriptor `map`. Two instructions' length.
    pub fn load_map(self, to: Register, map: i32) -> Self {
        /// What makes the kernel read the value as a map's descriptor (`BPF_PSEUDO_MAP_FD`).
        const MAP: Register = Register::R1;
        self.push(0x18, to, MAP, 0, map).push(0, Register::R0, Register::R0, 0, 0)
    }

    /// `to =` the address of byte `offset` of the value of an array map of one value, behind
    /// descriptor `map`. Two instructions' length.
    pub fn load_map_value(self, to: Register, map: i32, offset: i32) -> Self {
        /// What makes the kernel read the value as that (`BPF_PSEUDO_MAP_VALUE`).
        const VALUE: Register = Register::R2;
        self.push(0x18, to, VALUE, 0, map).push(0, Register::R0, Register::R0, 0, offset)
    }

    /// `to = value`. Two instructions' length.
    pub fn set_wide(self, to: Register, value: u64) -> Self {
        let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0).cast_signed();
        self.push(0x18, to, Register::R0, 0, half(value)).push(
            0,
            Register::R0,
            Register::R0,
            0,
            half(value >> 32),
        )
    }

    /// `*(to + offset) += from`, eight bytes, in one step for all processors.
    pub fn count(self, to: Register, offset: i16, from: Register) -> Self {
        self.push(0xdb, to, from, offset, 0)
    }

    /// No load behind it is done before those in front of it. `spare` is the place of eight bytes
    /// of the stack, and `register` loses its value. A processor that keeps loads in order is told
    /// nothing.
    pub fn barrier(self, spare: i16, register: Register) -> Self {
        /// Fetches what was there, which makes an addition a barrier on every processor.
        const FETCH: i32 = 1;
        if cfg!(target_arch = "x86_64") {
            return self;
        }
        self.set(register, 0).store(Size::Double, Register::R10, spare, register).push(
            0xdb,
            Register::R10,
            register,
            spare,
            FETCH,
        )
    }

    /// Goes on at `label`.
    pub fn go_to(self, label: &'static str) -> Self {
        self.jump(label).push(0x05, Register::R0, Register::R0, 0, 0)
    }

    /// Goes on at `label` if `left == value`.
    pub fn jump_if(self, left: Register, value: i32, label: &'static str) -> Self {
        self.jump(label).push(0x15, left, Register::R0, 0, value)
    }

    /// Goes on at `label` if `left != right`.
    pub fn jump_if_differ(self, left: Register, right: Register, label: &'static str) -> Self {
        self.jump(label).push(0x5d, left, right, 0, 0)
    }

    /// Goes on at `label` if `left < value`, both without a sign.
    pub fn jump_if_less(self, left: Register, value: i32, label: &'static str) -> Self {
        self.jump(label).push(0xa5, left, Register::R0, 0, value)
    }

    /// Goes on at `label` if `left != value`.
    pub fn jump_if_not(self, left: Register, value: i32, label: &'static str) -> Self {
        self.jump(label).push(0x55, left, Register::R0, 0, value)
    }

    /// Goes on at `label` if `left > right`, both without a sign.
    pub fn jump_if_greater(self, left: Register, right: Register, label: &'static str) -> Self {
        self.jump(label).push(0x2d, left, right, 0, 0)
    }

    /// Where jumps to `label` lead: the next instruction.
    pub fn label(mut self, label: &'static str) -> Self {
        self.labels.push((label, self.instructions.len()));
        self
    }

    /// `R0 =` the helper function of this number, called.
    pub fn call(self, helper: i32) -> Self {
        self.push(0x85, Register::R0, Register::R0, 0, helper)
    }

    /// `R0 =` the kernel's own function of this number, called.
    pub fn call_kernel(self, function: u32) -> Self {
        /// What makes the kernel look among its own functions (`BPF_PSEUDO_KFUNC_CALL`).
        const KERNEL: Register = Register::R2;
        self.push(0x85, Register::R0, KERNEL, 0, function.cast_signed())
    }

    /// Ends the program; `R0` is its answer.
    pub fn exit(self) -> Self {
        self.push(0x95, Register::R0, Register::R0, 0, 0)
    }

    fn jump(mut self, label: &'static str) -> Self {
        self.jumps.push((self.instructions.len(), label));
        self
    }

    fn push(mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) -> Self {
        let (low, high) = if cfg!(target_endian = "little") { (to, from) } else { (from, to) };
        let registers = (high as u8) << 4 | low as u8;
        self.instructions.push(Instruction { code, registers, offset, immediate });
        self
    }

    /// The instructions, with every jump's distance in its place. A jump to a label that is not
    /// there leads to itself, which the kernel refuses.
    pub(crate) fn assemble(&self) -> Vec<Instruction> {
        let mut instructions = self.instructions.clone();
        for &(at, label) in &self.jumps {
            let target = self.labels.iter().find(|(name, _)| *name == label);
            let target = target.map_or(at, |&(_, target)| target);
            // A jump counts from the instruction behind it.
            let distance = i16::try_from(target).ok().zip(i16::try_from(at + 1).ok());
            if let Some(jump) = instructions.get_mut(at) {
                jump.offset = distance.map_or(-1, |(target, from)| target - from);
            }
        }
        instructions
    }
}

#[cfg(test)]
mod tests {
    use super::Register::*;
    use super::*;

    /// The bytes as `llvm-objdump -d` of the same program compiled by clang 14 shows them.
    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_those_of_a_compiler() {
        let code =
            Code::new().load(Size::Word, R2, R1, 16).load_map(R1, 5).set(R3, 1).call(51).exit();
        #[rustfmt::skip]
        let golden: [[u8; 8]; 6] = [
            [0x61, 0x12, 0x10, 0, 0, 0, 0, 0],    // r2 = *(u32 *)(r1 + 16)
            [0x18, 0x11, 0, 0, 5, 0, 0, 0],       // r1 = map 5 ll
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x03, 0, 0, 1, 0, 0, 0],       // r3 = 1
            [0x85, 0, 0, 0, 0x33, 0, 0, 0],       // call 51
            [0x95, 0, 0, 0, 0, 0, 0, 0],          // exit
        ];
        assert_eq!(bytes(&code), golden);
        let code = Code::new()
            .copy(R6, R1)
            .add(R2, -4)
            .store(Size::Half, R10, -8, R0)
            .store_value(Size::Double, R10, -16, 0)
            .load(Size::Byte, R3, R7, 2)
            .call_kernel(0x0001_0203);
        #[rustfmt::skip]
        let golden: [[u8; 8]; 6] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xfc, 0xff, 0xff, 0xff],
            [0x6b, 0x0a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x7a, 0x0a, 0xf0, 0xff, 0, 0, 0, 0],
            [0x71, 0x73, 2, 0, 0, 0, 0, 0],
            [0x85, 0x20, 0, 0, 0x03, 0x02, 0x01, 0],
        ];
        assert_eq!(bytes(&code), golden);
    }

    #[test]
    fn jumps_lead_to_their_labels() {
        let code = Code::new()
            .jump_if_not(R0, 0, "end")
            .jump_if_greater(R1, R2, "end")
            .set(R0, 1)
            .label("end")
            .exit();
        let offsets: Vec<_> =
            code.assemble().iter().map(|instruction| instruction.offset).collect();
        assert_eq!(offsets, [2, 1, 0, 0]);
        let lost = Code::new().jump_if_not(R0, 0, "nowhere").exit().assemble();
        assert_eq!(lost.first().map(|instruction| instruction.offset), Some(-1));
    }

    fn bytes(code: &Code) -> Vec<[u8; 8]> {
        let bytes = |instruction: &Instruction| {
            let ([a, b], [c, d, e, f]) =
                (instruction.offset.to_ne_bytes(), instruction.immediate.to_ne_bytes());
            [instruction.code, instruction.registers, a, b, c, d, e, f]
        };
        code.assemble().iter().map(bytes).collect()
    }
}
