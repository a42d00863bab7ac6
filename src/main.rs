//! `postil`: arguments in, calls of the library, terminal out.

fn main() {}
