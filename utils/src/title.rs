//! The name that `ps` shows.
//!
//! Linux shows the memory in which the arguments stand. The environment follows it directly, so [`init`] moves that
//! to the heap and the title may use both. Called by `main` before anything else, and by each child for its own name.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::ffi::CStr;
use std::fs;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::c_char;

/// The kernel shows no more of a title than one page (`get_mm_proctitle` in fs/proc/base.c), the NUL included.
const LONGEST_TITLE: usize = 4095;

static AREA: OnceLock<Area> = OnceLock::new();
/// How many bytes of the area may differ from NUL, the end mark apart; at first all.
static SHOWN: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Where arguments and environment stood when the program began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    start: usize,
    /// Bytes of the arguments, at least 2.
    arguments: usize,
    /// Bytes of both: writable memory.
    all: usize,
}

unsafe extern "C" {
    /// The C library's own variable (environ(7)).
    static mut environ: *mut *mut c_char;
}

/// Finds the area and moves the environment out of it. Once, as the first thing in `main`, with one thread.
///
/// `std::env::args` reads that very memory: take what is needed of it before the first [`set`].
/// Where the area cannot be made out (no /proc, an emulator), [`set`] does nothing.
pub fn init() {
    if AREA.get().is_some() {
        return;
    }
    let (Ok(stat), Ok(maps)) = (fs::read_to_string("/proc/self/stat"), fs::read_to_string("/proc/self/maps"))
    else {
        return;
    };
    let Some(area) = Area::parse(&stat).filter(|area| is_writable(&maps, area.start..area.start + area.all))
    else {
        return;
    };
    if move_environment() {
        // Not set before: checked above, with one thread.
        let _ = AREA.set(area);
    }
}

/// Makes `ps` and `/proc/PID/cmdline` show exactly this text; cut to the room there is (at least the length of the
/// command line and environment that the program was started with, at most 4,095 bytes). Control characters show as `?`.
///
/// Does nothing before [`init`]. After a fork each process has its own.
pub fn set(text: &str) {
    let Some(area) = AREA.get() else { return };
    area.show(text, SHOWN.load(Ordering::Relaxed).min(area.all));
    SHOWN.store(area.shown(text), Ordering::Relaxed);
}

/// [`set`] for the last title of a process: nothing is remembered of it, which would cost a short-lived process the copy
/// of a page. Allocates nothing.
pub fn set_for_good(text: &str) {
    if let Some(area) = AREA.get() {
        area.show(text, SHOWN.load(Ordering::Relaxed).min(area.all));
    }
}

impl Area {
    /// From `/proc/self/stat`: fields 48 to 51 are `arg_start`, `arg_end`, `env_start`, `env_end` (`proc_pid_stat(5)`).
    fn parse(line: &str) -> Option<Area> {
        let (_, fields) = line.rsplit_once(')')?;
        // The first field behind the name is number 3.
        let mut fields = fields.split_ascii_whitespace().skip(48 - 3).map(str::parse::<usize>);
        let mut next = || fields.next()?.ok();
        let (start, arg_end, env_start, env_end) = (next()?, next()?, next()?, next()?);
        let arguments = arg_end.checked_sub(start).filter(|&length| start > 0 && length >= 2)?;
        // The kernel reads on into the environment only where it begins right there.
        let environment = if env_start == arg_end { env_end.saturating_sub(env_start) } else { 0 };
        Some(Area { start, arguments, all: arguments.checked_add(environment)? })
    }

    /// Bytes of a title that are shown.
    fn shown(&self, text: &str) -> usize {
        // The last byte of all stays NUL, so whoever reads the old arguments as a string finds an end.
        cut(text, (self.all - 1).min(LONGEST_TITLE)).len()
    }

    /// Which bytes to write where for a title, if the first `before` bytes of the area may
    /// be anything and the others are as [`init`] or an earlier title left them.
    ///
    /// ```text
    /// | title … | NUL … | end mark | NUL …              |   a short title
    /// | title ……………………………………… title | NUL … | NUL |   a long one
    /// |<------ arguments ------->|<----- environment -->|
    /// ```
    /// While the last byte of the arguments is NUL, the kernel shows all of them, with NULs; else it takes the area
    /// for a title and shows it up to the first NUL. So a short title needs a mark there, which is never shown.
    fn bytes(&self, text: &str, before: usize) -> impl Iterator<Item = (usize, u8)> {
        let shown = self.shown(text);
        let last = self.arguments - 1;
        let title = text.bytes().take(shown).map(|byte| if byte.is_ascii_control() { b'?' } else { byte });
        let rest = std::iter::repeat_n(0, before.saturating_sub(shown));
        let mark = match shown.cmp(&last) {
            Less if before < last => None, // It stands there already.
            Less => Some((last, b'.')),
            Equal => Some((last, 0)),
            Greater => None,
        };
        title.chain(rest).enumerate().chain(mark)
    }

    fn show(&self, text: &str, before: usize) {
        for (offset, byte) in self.bytes(text, before) {
            // SAFETY: `offset` is within the area, which is writable memory of this process (checked in `init`). Nothing
            // reads it as a Rust value: the environment has moved, and `init` tells to take the arguments before.
            // Volatile, since nobody in this process ever reads it back. One thread writes, the kernel reads.
            unsafe {
                let start: *mut u8 = ptr::with_exposed_provenance_mut(self.start);
                start.add(offset).write_volatile(byte);
            }
        }
    }
}

/// The longest start of a text that has at most so many bytes and ends at a character.
pub(crate) fn cut(text: &str, room_bytes: usize) -> &str {
    let end = (0..=room_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Copies every entry, also those that are no `NAME=value`, and the list itself.
fn move_environment() -> bool {
    // SAFETY: by the contract of `init` no other thread reads or changes the environment. `environ` is null or a
    // null-terminated list of NUL-terminated strings (environ(7)); the copies are never freed, as the C library
    // expects of entries, and it copies a list that is not its own before it changes it.
    unsafe {
        let old = environ;
        if old.is_null() {
            return true;
        }
        let mut copy: Vec<*mut c_char> = Vec::new();
        let mut entry = old;
        while !(*entry).is_null() {
            copy.push(CStr::from_ptr(*entry).to_owned().into_raw());
            entry = entry.add(1);
        }
        copy.push(ptr::null_mut());
        environ = copy.leak().as_mut_ptr();
    }
    true
}

/// Whether one readable and writable mapping of `/proc/self/maps` holds the whole range.
fn is_writable(maps: &str, range: Range<usize>) -> bool {
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let bounds = words.next().and_then(|bounds| bounds.split_once('-'));
        let Some((Ok(start), Ok(end))) =
            bounds.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)))
        else {
            return false;
        };
        start <= range.start && range.end <= end && words.next().is_some_and(|flags| flags.starts_with("rw"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { start: 4096, arguments: 8, all: 20 };

    fn stat(tail: &str) -> String {
        format!("7 (a) b) S {}{tail} 0", "0 ".repeat(44))
    }

    #[test]
    fn area_is_read_behind_any_name() {
        assert_eq!(Area::parse(&stat("4096 4104 4104 4116")), Some(AREA));
        let apart = Area { all: 8, ..AREA };
        assert_eq!(Area::parse(&stat("4096 4104 5000 5012")), Some(apart));
        assert_eq!(Area::parse(&stat("0 0 0 0")), None);
        assert_eq!(Area::parse("7 (a) S 1"), None);
    }

    /// The area as a row of titles leaves it.
    fn image(titles: &[&str]) -> Vec<u8> {
        let (mut image, mut before) = (vec![b'#'; AREA.all], AREA.all);
        for title in titles {
            for (place, byte) in AREA.bytes(title, before) {
                image[place] = byte;
            }
            before = AREA.shown(title);
        }
        image
    }

    #[test]
    fn short_titles_are_marked_and_long_ones_reach_on() {
        assert_eq!(image(&["abc"]), b"abc\0\0\0\0.\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(image(&["1234567"]), b"1234567\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(image(&["12345678"]), b"12345678\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(image(&[&"x".repeat(99)]), b"xxxxxxxxxxxxxxxxxxx\0");
    }

    #[test]
    fn titles_are_cut_at_characters_and_hold_no_control() {
        assert!(image(&["12345678901234567ä"]).starts_with("12345678901234567ä\0".as_bytes()));
        assert!(image(&["123456789012345678ä"]).starts_with(b"123456789012345678\0"));
        assert!(image(&["a\0b\nc"]).starts_with(b"a?b?c\0"));
    }

    #[test]
    fn nothing_of_an_earlier_title_is_left() {
        let titles = ["", "abc", "1234567", "12345678", "123456789", "1234567890123456789"];
        for first in titles {
            for second in titles {
                assert_eq!(image(&[first, second]), image(&[second]), "{first} {second}");
                assert_eq!(image(&[first, second, "ab"]), image(&["ab"]), "{first} {second}");
            }
        }
    }

    #[test]
    fn only_one_writable_mapping_counts() {
        let maps = "1000-2000 rw-p 0 0 0 [stack]\n2000-3000 r--p 0 0 0\n";
        assert!(is_writable(maps, 0x1000..0x2000));
        assert!(!is_writable(maps, 0x1fff..0x2001));
        assert!(!is_writable(maps, 0x2000..0x2001));
    }
}
