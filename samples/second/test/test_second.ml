let counts = Alcotest.(check (list (pair string int))) "counts"
let nothing () = counts [] (Second.words " \n")
let case_does_not_matter () = counts [ ("a", 1); ("rose", 2) ] (Second.words "Rose a rose")

let () =
  Alcotest.run "second"
    [
      ( "words",
        [
          Alcotest.test_case "nothing" `Quick nothing;
          Alcotest.test_case "case does not matter" `Quick case_does_not_matter;
        ] );
    ]
