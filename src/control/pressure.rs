//! When there is too little memory, or too few descriptors, to take on more work.
//!
//! A mark is passed upwards at once and downwards a tenth below, so that what hovers about it
//! changes nothing back and forth.

use crate::control::admission::Pressure;

/// What we use, as the system counts it; `None` for what it does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Open descriptors, and how many there may be.
    pub descriptors: Option<(u64, u64)>,
}

/// Looks at what we use against the marks.
#[derive(Debug)]
pub struct Gauge {
    /// Bytes.
    memory: u64,
    memory_is_short: bool,
    descriptors_are_short: bool,
}

/// Nine tenths of the descriptors that there may be are for everybody, the rest for what goes on.
fn mark(limit: u64) -> u64 {
    limit - limit / 10
}

fn is_short(was: bool, used: u64, mark: u64) -> bool {
    if was { used >= mark - mark / 10 } else { used >= mark }
}

impl Gauge {
    /// Memory is short from so many bytes on.
    pub fn new(memory: u64) -> Self {
        Self { memory, memory_is_short: false, descriptors_are_short: false }
    }

    /// What is short now.
    pub fn step(&mut self, usage: Usage) -> Option<Pressure> {
        let memory = usage.memory.unwrap_or_default();
        self.memory_is_short = is_short(self.memory_is_short, memory, self.memory);
        let (open, limit) = usage.descriptors.unwrap_or((0, u64::MAX));
        self.descriptors_are_short = is_short(self.descriptors_are_short, open, mark(limit));
        match (self.memory_is_short, self.descriptors_are_short) {
            (true, _) => Some(Pressure::Memory),
            (_, true) => Some(Pressure::Descriptors),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_passed_upwards_at_once_and_downwards_a_tenth_below() {
        let mut gauge = Gauge::new(1000);
        let mut step = |memory, open| {
            gauge.step(Usage { memory: Some(memory), descriptors: Some((open, 100)) })
        };
        let (memory, descriptors) = (Some(Pressure::Memory), Some(Pressure::Descriptors));
        assert_eq!([step(999, 89), step(1000, 89), step(900, 95)], [None, memory, memory]);
        assert_eq!([step(899, 95), step(0, 81), step(0, 80)], [descriptors, descriptors, None]);
        assert_eq!(gauge.step(Usage::default()), None, "what is not known is not short");
    }
}
