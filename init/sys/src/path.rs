//! Paths that the kernel resolves within a directory (`openat2(2)`).

use std::io;

/// How often the kernel is asked for one path. Each time, something would have to be mounted or renamed just then.
const TRIES: usize = 64;

/// Asks the kernel for a path again while it cannot tell where a `..` in it leads (`EAGAIN`): somebody mounts or renames something
/// meanwhile, wherever on the machine.
///
/// # Errors
/// What `ask` tells last.
pub fn patiently<T, E: Copy + Into<io::Error>>(mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TRIES {
        match ask() {
            Err(error) if error.into().kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            other => return other,
        }
    }
    ask()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn the_kernel_is_asked_again_and_not_for_ever() {
        for (refusals, error, asked, want) in [
            (0, Errno::EAGAIN, 1, Ok(())),
            (3, Errno::EAGAIN, 4, Ok(())),
            (TRIES, Errno::EAGAIN, TRIES, Err(Errno::EAGAIN)),
            (3, Errno::ENOENT, 1, Err(Errno::ENOENT)),
        ] {
            let mut times = 0;
            let result = patiently(|| {
                times += 1;
                if times <= refusals { Err(error) } else { Ok(()) }
            });
            assert_eq!((times, result), (asked, want), "{refusals} {error}");
        }
    }
}
