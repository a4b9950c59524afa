//! When a worker has nothing to do: it looks a little longer, then sleeps until something happens.
//!
//! How long it looks before it sleeps follows the traffic. A sleep that ends at once was not worth
//! its two switches, and doubles the time; a long one halves it. So a worker under load, or in the
//! middle of an exchange of short messages, does not sleep at all, and one without traffic costs
//! nothing.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The shortest look.
const LEAST: Duration = Duration::from_micros(5);
/// The longest look.
const MOST: Duration = Duration::from_micros(100);
/// A sleep shorter than this was not worth it.
const SHORT: Duration = Duration::from_micros(200);

/// One worker's sleep.
#[derive(Debug)]
pub struct Sleep {
    epoll: OwnedFd,
    /// How long to look for work before sleeping.
    patience: Duration,
    /// When the worker ran out of work.
    idle_since: Option<Duration>,
    /// When it looked last.
    looked: Duration,
    /// Whether it may sleep at all.
    allowed: bool,
    /// System calls made.
    pub syscalls: u64,
    /// Time spent looking for work in vain.
    pub vain: Duration,
}

impl Sleep {
    /// A worker that is woken by `desk`; one that never sleeps if `busy_poll`.
    pub fn new(desk: BorrowedFd<'_>, busy_poll: bool) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, desk, EventData::new_u64(0), EventFlags::IN)?;
        Ok(Self {
            epoll,
            patience: LEAST,
            idle_since: None,
            looked: Duration::ZERO,
            allowed: !busy_poll,
            syscalls: 0,
            vain: Duration::ZERO,
        })
    }

    /// Also wakes when `fd` is readable.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(1), EventFlags::IN)?)
    }

    /// Ends that. A descriptor that was closed meanwhile is no longer there, which is as good.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// There was work.
    #[inline]
    pub const fn worked(&mut self) {
        self.idle_since = None;
    }

    /// There was none at `now`. Answers whether it is time to sleep.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let since = match self.idle_since {
            Some(since) => {
                self.vain += now.saturating_sub(self.looked);
                since
            }
            None => *self.idle_since.insert(now),
        };
        self.looked = now;
        self.allowed && now.saturating_sub(since) >= self.patience
    }

    /// Sleeps until something happens, `most` at the longest. `clock` tells the time.
    pub fn sleep(&mut self, most: Duration, clock: impl Fn() -> Duration) {
        let begin = clock();
        let timeout = Timespec::try_from(most).ok();
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 4];
        // An interrupted wait is as good as one that ends.
        let _ = epoll::wait(&self.epoll, &mut events, timeout.as_ref());
        self.syscalls += 1;
        let slept = clock().saturating_sub(begin);
        self.patience =
            if slept < SHORT { self.patience * 2 } else { self.patience / 2 }.clamp(LEAST, MOST);
        self.idle_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::cell::Cell;
    use std::os::fd::AsFd;

    #[test]
    fn short_sleeps_make_patient_and_long_ones_impatient() {
        let wake = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
        let mut sleep = Sleep::new(wake.as_fd(), false).unwrap();
        let time = Cell::new(Duration::ZERO);
        // The descriptor is readable, so that no sleep lasts; the clock says how long it seemed.
        let mut nap = |length: Duration| {
            time.set(Duration::ZERO);
            sleep.sleep(Duration::from_secs(1), || time.replace(time.get() + length));
            sleep.patience
        };
        assert_eq!(nap(Duration::from_micros(50)), LEAST * 2);
        for _ in 0..10 {
            nap(Duration::from_micros(50));
        }
        assert_eq!(nap(Duration::from_micros(50)), MOST);
        assert_eq!(nap(Duration::from_millis(5)), MOST / 2);
    }

    #[test]
    fn it_is_due_after_looking_long_enough_and_never_if_not_allowed() {
        let wake = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        for (busy_poll, expected) in [(false, true), (true, false)] {
            let mut sleep = Sleep::new(wake.as_fd(), busy_poll).unwrap();
            assert!(!sleep.is_due(Duration::from_secs(1)));
            assert_eq!(sleep.is_due(Duration::from_secs(1) + LEAST), expected);
            sleep.worked();
            assert!(!sleep.is_due(Duration::from_secs(2)), "the count begins anew");
        }
    }
}
