open Cmdliner

let names = Arg.(value & pos_all string [ "world" ] & info [] ~docv:"NAME" ~doc:"Who to greet.")
let hello names = print_endline (Hello.greet names)
let command = Cmd.v (Cmd.info "hello" ~doc:"Greet people") Term.(const hello $ names)
let () = exit (Cmd.eval command)
