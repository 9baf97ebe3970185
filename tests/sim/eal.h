/* EAL for test programs: no hugepages, no root, no PCI, no telemetry, no shared configuration, any
 * processor this process may use; leaves nothing behind. */
#pragma once

/* name: of the program, for EAL's runtime directory. Ends the program if EAL does not start. Once per process. */
void test_eal_init(const char *name);
