//! Numbers that only look random, so that a run can be had again.

/// A generator of such numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.number()) * end as u128;
        usize::try_from(wide >> 64).unwrap_or_default()
    }

    /// Puts `items` into an order as good as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Flows in a random order, each once a round, for ever.
#[derive(Clone, Debug)]
pub struct Order {
    flows: Vec<u32>,
    at: usize,
}

impl Order {
    /// The flows 0 to `count` - 1, or only 0.
    pub fn new(count: u32, seed: u64) -> Self {
        let mut flows: Vec<_> = (0..count.max(1)).collect();
        Random::new(seed).shuffle(&mut flows);
        Self { flows, at: 0 }
    }

    /// The flow `ahead` places further on.
    pub fn peek(&self, ahead: usize) -> u32 {
        self.flows[(self.at + ahead) % self.flows.len()]
    }

    /// Goes on by so many.
    pub fn advance(&mut self, by: usize) {
        self.at = (self.at + by) % self.flows.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flow_comes_once_a_round_in_the_order_of_the_seed() {
        let round = |seed| {
            let mut order = Order::new(1000, seed);
            let mut flows: Vec<_> = (0..1000).map(|ahead| order.peek(ahead)).collect();
            order.advance(1000);
            assert_eq!(order.peek(0), flows[0], "the next round is the same");
            let as_drawn = flows.clone();
            flows.sort_unstable();
            assert!(flows.iter().copied().eq(0..1000));
            as_drawn
        };
        assert_eq!(round(1), round(1));
        assert_ne!(round(1), round(2));
        assert!(!round(1).is_sorted());
    }

    /// The first numbers of the reference implementation for seed 1234567.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }
}
