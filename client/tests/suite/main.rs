//! The client against the agent, over a socket of this machine: one program, which is built once. What measures, or changes
//! the process that it runs in, has a program of its own beside this folder.

#[path = "../guest/mod.rs"]
mod guest;

mod attach;
mod bare;
mod calls;
mod compare;
mod completions;
mod deny;
mod doctor;
mod each;
mod exec;
mod faults;
mod forward;
mod forward_ends;
mod forward_tools;
mod frames;
mod fs;
mod interactive;
mod jobs;
mod keys;
mod manual;
mod names;
mod power;
mod reconnect;
mod refusals;
mod root;
mod rsh_git;
mod rsh_rsync;
mod rsh_scp;
mod rsh_ssh;
mod serial;
mod ssh_words;
mod streams;
mod suggestions;
mod system;
mod targets;
mod trace;
mod transfer;
mod tree_delete;
mod tree_faults;
mod tree_lists;
mod tree_owners;
mod tree_places;
mod tree_planted;
mod tree_resume;
mod tree_together;
mod trees;
mod with;
