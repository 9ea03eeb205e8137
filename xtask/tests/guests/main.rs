//! Guests that boot, and what is done with them: one program, so that what waits in one test is another one's time.

mod bare_guest;
mod bare_tree;
mod client_inside;
mod forward;
mod guest;
mod image_chore;
mod initrd;
mod manual;
mod process_one;
mod protection;
mod reach;
mod recipes;
mod survival;
mod vm;
mod vm_chore;
