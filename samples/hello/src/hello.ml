let pp_names ppf names =
  match List.rev names with
  | [] -> Fmt.string ppf "nobody"
  | [ name ] -> Fmt.string ppf name
  | last :: others ->
      Fmt.pf ppf "%a and %s" Fmt.(list ~sep:(any ", ") string) (List.rev others) last

let greet names = Fmt.str "Hello, %a!" pp_names names
let greeting = Re.(compile (whole_string (seq [ str "Hello, "; group (rep1 any); char '!' ])))
let separator = Re.(compile (alt [ str ", "; str " and " ]))

let greeted text =
  match Re.exec_opt greeting text with
  | None -> []
  | Some groups -> Re.split separator (Re.Group.get groups 1)
