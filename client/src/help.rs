//! Owns the text of `-h` and of `-V`.

/// What `-h` prints.
pub const HELP: &str = "\
A shell, a command or a file in a Linux guest, over a VM socket.

Usage: vsock-shell [OPTIONS] [USER@]TARGET                     interactive shell
       vsock-shell [OPTIONS] [USER@]TARGET COMMAND [ARG]...    words joined by spaces, run by the guest's shell
       vsock-shell [OPTIONS] [USER@]TARGET -- PROGRAM [ARG]... run as it is, without a shell
       vsock-shell [OPTIONS] TARGET -u LOCAL:REMOTE            upload one file (`\\:` is a colon in a name)
       vsock-shell [OPTIONS] TARGET -d REMOTE:LOCAL            download one file
       vsock-shell cp [-r] [-p] SRC... DST                     copy; TARGET:PATH on either side, `-` is stdin or stdout
       vsock-shell TARGET --with FILE -- ARG0 [ARG]...         a program of this side, executed in the guest's memory
       vsock-shell wait [--timeout SECONDS] TARGET             wait until the agent answers
       vsock-shell info [--json] TARGET                        what the agent and its guest are
       vsock-shell poweroff|reboot|halt [--force] TARGET       end the guest
       vsock-shell fs VERB TARGET ...                          files without a program in the guest: ls, cat, stat,
                                                               mkdir, rm, mv, ln, chmod, df
       vsock-shell sys VERB TARGET ...                         the system without one: ps, kill, dmesg, mount, umount,
                                                               modules, load, unload, env, sysctl, date, sync,
                                                               poweroff, reboot
       vsock-shell --detach [-t] [--hold] TARGET COMMAND...    a command as a job, without a client; prints its number
       vsock-shell jobs [--json] TARGET                        the jobs of the guest
       vsock-shell attach [--read-only] TARGET JOB             its output and terminal; ends with its status
       vsock-shell logs [-f] TARGET JOB                        what is kept of its output, and with -f what follows
       vsock-shell kill [-SIGNAL] TARGET JOB                   send it a signal (TERM)
       vsock-shell result [--wait] TARGET JOB                  end with its status
       vsock-shell keygen FILE                                 make a key for --key, here and of agents

TARGET is one of
  3, vsock:3[:PORT]    the guest with context id 3
  mux:PATH[:PORT]      the Unix socket of Firecracker, Cloud Hypervisor or vhost-device-vsock
  unix:PATH            a Unix socket
  tcp:HOST:PORT        a TCP stream
  serial:PATH          a virtio-serial socket or a serial line
  exec:COMMAND         the standard input and output of a command
With cp it is written without colons, `%` for `:` and `%%` for `%`: unix%/run/agent.sock:/etc/fstab

Options, before or after TARGET, but before COMMAND:
  -p, --port PORT       port of the agent where TARGET names none (5000)
  -l USER               user in the guest; the same as USER@TARGET
  -t, -T                with a terminal, without one (default: for a shell, when stdin and stdout are terminals)
  -n                    standard input is empty
  -e CHAR|none          escape character of a shell (~)
  -E NAME[=VALUE]       set a variable; without a value, the one it has here; repeatable
  -C DIR                working directory in the guest
  -u, --upload, -d, --download
                        upload or download one file, as above
      --listen ADDR     in the place of TARGET: wait for an agent that calls vsock[:PORT] or unix:PATH (its --connect)
      --force           end the guest at once, without asking its init
      --timeout SECONDS keep trying to connect for so long (2; with --listen for ever); 0: try once
      --kill-after SECONDS
                        kill the command when it runs longer
      --reconnect SECONDS
                        keep trying for so long to get a lost connection back (30); 0: do not
      --key FILE        the agent has to have the key in this file, and is shown that this side has it
      --expect-boot-id ID, --expect-machine-id ID
                        with --key: end unless it is this boot of the guest, this guest
      --dead-after SECONDS
                        give up on a guest that has said nothing for so long (default: never)
      --hold            a job whose output nobody reads waits when 1 MiB is kept, instead of losing the oldest
      --json            print one object: the result of a command, or what info and jobs tell
  -q, -v                say less, say more
  -h, --help            print this text
  -V, --version         print the version

Options of cp:
  -r                    directories with what is in them, and symbolic links as themselves
  -p, --preserve        with owners, extended attributes, hard links and devices too
      --exclude GLOB    leave out names, or with a slash paths, that match; repeatable
      --resume          keep what has come of a file when a copy ends early, and go on there
      --checksum        do not copy files that are identical
      --delete          remove what the source has not (with -r, after a copy without problems)
      --sync            flush what was written to disk before success is told
      --trust-guest     take set-id bits, devices and privileged attributes from a guest
      --in-place        write into the file or device that is there in the guest
      --json            print a summary as one object

In a shell, at the beginning of a line: ~. ends the session, ~d leaves it running as a job,
~^Z suspends, ~~ sends a ~, ~? lists these.

Exit status: that of the command; 128+N when signal N killed it; 126 or 127 when it could not be executed or found;
255 when the guest could not be reached or vsock-shell itself failed.
";

/// What `-V` prints.
pub const VERSION: &str = concat!("vsock-shell ", env!("CARGO_PKG_VERSION"), "\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_a_terminal_of_120_columns_and_has_no_tabs() {
        for line in HELP.lines() {
            assert!(line.chars().count() <= 120 && !line.contains('\t') && line.trim_end() == line, "{line}");
        }
    }

    #[test]
    fn the_version_is_one_line() {
        assert_eq!(VERSION.lines().count(), 1);
        assert!(VERSION.ends_with('\n'));
    }
}
