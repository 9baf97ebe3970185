/* backup: `barewire backup DIR`, `barewire restore DIR`, `barewire verify DIR`; repository.h says what lies in DIR. argv begins behind the word.
 * Exit status: 0 done; 1 it failed, or something is damaged; 2 the words are wrong. */
#pragma once

int backup_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int verify_main(int argc, char **argv);
